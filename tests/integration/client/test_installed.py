"""The client installs by itself, and needs nothing of the platform."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.installation import ROOT
from tests.unit.client.scripted import Answer, serving

CLIENT = ROOT / "invocation" / "client"
PLATFORM = ("django", "celery", "rest_framework", "channels", "redis", "psycopg", "invocation", "config", "quota", "agents", "tests")
PROGRAM = """
import importlib.util, sys
sys.path[:0] = sys.argv[2:]
from gearbox_client import Gearbox, verify_webhook
with Gearbox(sys.argv[1], "gbx_k") as gearbox:
    print(gearbox.jobs.get("j-1").state)
found = [name for name in {platform} if importlib.util.find_spec(name)]
assert not found, found
assert gearbox.jobs.__module__ == "gearbox_client.jobs"
"""


def needed(name: str) -> set[str]:
    """Return the distributions that this one needs, itself included."""
    wanted = [Requirement(line) for line in requires(name) or ()]
    direct = {each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})}
    return {name}.union(*map(needed, direct))


def linked(names: set[str], folder: Path) -> Path:
    """Make a folder in which only these distributions can be imported."""
    folder.mkdir()
    for name in names:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))).resolve())
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install as the README says, into a folder of its own and without an index."""
    target = tmp_path_factory.mktemp("installed")
    command = next(line for line in (CLIENT / "README.md").read_text().splitlines() if line.startswith("pip install"))
    words = [sys.executable, "-m", *command.split(), "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(target)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_it_calls_where_only_its_own_requirements_can_be_imported(installed: Path, tmp_path: Path) -> None:
    job = {"id": "j-1", "state": "queued", "endpoint": "e@1", "agent": "a@1", "attempt": 0, "created_at": "2026-11-20T12:00:00Z"}
    libraries = linked(needed("httpx"), tmp_path / "libraries")
    with serving(Answer(200, job)) as script:
        program = PROGRAM.replace("{platform}", str(PLATFORM))
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "error", "-c", program, script.url, str(installed), str(libraries)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert (done.returncode, done.stdout) == (0, "queued\n"), done.stderr


def test_it_brings_its_types_and_asks_for_httpx_alone(installed: Path) -> None:
    (told,) = installed.glob("gearbox_client-*.dist-info")
    lines = (told / "METADATA").read_text().splitlines()

    assert (installed / "gearbox_client" / "py.typed").exists()
    assert [line for line in lines if line.startswith("Requires-Dist")] == ["Requires-Dist: httpx~=0.28"]
    assert {path.name for path in installed.iterdir()} == {"gearbox_client", told.name}


def test_it_imports_nothing_but_the_standard_library_httpx_and_itself() -> None:
    code = (
        "import sys, httpx; before = set(sys.modules); import gearbox_client;"
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names) - {'gearbox_client'})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CLIENT, capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "set()\n"


def test_the_same_sources_give_the_same_wheel(tmp_path: Path) -> None:
    code = "import sys, building; print(building.build_wheel(sys.argv[1])); print(building.build_sdist(sys.argv[1]))"
    built = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=CLIENT, capture_output=True, text=True, check=True, timeout=60)
        wheel, archive = done.stdout.split()
        assert (folder / archive).exists()
        built.append((folder / wheel).read_bytes())

    assert built[0] == built[1]
    assert zipfile.ZipFile(tmp_path / "one" / wheel).testzip() is None
