"""Builds the distribution with the standard library alone (PEP 517), so that it installs where no build tool is at hand."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGE = "gearbox_client"
WHEEL = "Wheel-Version: 1.0\nGenerator: gearbox\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
TOLD = {
    "name": "Name",
    "version": "Version",
    "description": "Summary",
    "license": "License-Expression",
    "requires-python": "Requires-Python",
}


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    """Write the wheel and return its name; the same files give the same bytes."""
    release = _release()
    name, told = f"{release}-py3-none-any.whl", f"{release}.dist-info"
    files = {path.relative_to(HERE).as_posix(): path.read_bytes() for path in _sources()}
    files |= {f"{told}/METADATA": _metadata().encode(), f"{told}/WHEEL": WHEEL.encode()}
    record = "".join(f"{path},{_digest(content)},{len(content)}\n" for path, content in files.items()) + f"{told}/RECORD,,\n"
    with zipfile.ZipFile(Path(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in {**files, f"{told}/RECORD": record.encode()}.items():
            wheel.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    return name


def build_sdist(sdist_directory: str, config_settings: object = None) -> str:
    """Write the source archive and return its name."""
    release = _release()
    with tarfile.open(Path(sdist_directory, f"{release}.tar.gz"), "w:gz") as archive:
        for path in (HERE / "pyproject.toml", HERE / "README.md", HERE / "building.py", *_sources()):
            archive.add(path, f"{release}/{path.relative_to(HERE).as_posix()}")
        told = _metadata().encode()
        head = tarfile.TarInfo(f"{release}/PKG-INFO")
        head.size = len(told)
        archive.addfile(head, io.BytesIO(told))
    return f"{release}.tar.gz"


def _project() -> Mapping[str, Any]:
    found: Mapping[str, Any] = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    return found


def _release() -> str:
    return f"{PACKAGE}-{_project()['version']}"


def _sources() -> Iterator[Path]:
    return (path for path in sorted((HERE / PACKAGE).rglob("*")) if path.suffix == ".py" or path.name == "py.typed")


def _metadata() -> str:
    project = _project()
    lines = ["Metadata-Version: 2.4", *(f"{header}: {project[field]}" for field, header in TOLD.items())]
    lines += [f"Requires-Dist: {wanted}" for wanted in project["dependencies"]]
    return "\n".join([*lines, "Description-Content-Type: text/markdown", "", (HERE / "README.md").read_text()])


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
