"""Writing the files of a new agent, from templates, as one package that appears whole."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from string import Template

NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


class BadAgentName(ValueError):
    """The name cannot be a package's. Nothing was written."""


class FolderExists(FileExistsError):
    """Something is there already. Nothing was written."""


def start(name: str, *, folder: Path, templates: Path) -> Path:
    """Write the package `folder/name` and return its path. Raises BadAgentName or FolderExists."""
    target = folder / name
    _check(name, target)
    folder.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    try:
        _write(name, into=beside, templates=templates)
        beside.chmod(0o755)
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return target


def _check(name: str, target: Path) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise BadAgentName(f"{name!r} cannot name an agent: take 2 to 40 lower-case letters, digits and '_', beginning with a letter.")
    if target.exists():
        raise FolderExists(f"{target} exists already: take another name, or another --dir.")
    if name in sys.stdlib_module_names or find_spec(name):
        raise BadAgentName(f"{name!r} is the name of a module that Python knows already: take another one.")


def _write(name: str, *, into: Path, templates: Path) -> None:
    words = {"name": name, "class_name": "".join(part.capitalize() for part in name.split("_"))}
    for template in sorted(templates.glob("*.tpl")):
        filled = Template(template.read_text(encoding="utf-8")).substitute(words)
        (into / _file_name(template, name)).write_text(filled, encoding="utf-8")


def _file_name(template: Path, name: str) -> str:
    return template.stem.replace("test_agent", f"test_{name}")
