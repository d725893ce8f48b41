"""Started by root, PostgreSQL runs as an account without rights; and such an account can start everything itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from config.embedded import binaries, servers
from config.embedded.errors import ServerDidNotStart
from tests.integration.config.serving import ROOT, kill_both, something_is_there, write_something

NOBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")


@as_root
def test_root_runs_postgres_as_somebody_without_rights(open_home: Path) -> None:
    found = servers.start(open_home)

    assert psutil.Process(found.postgres.pid).uids().effective != 0
    assert (open_home / "postgres").stat().st_uid == psutil.Process(found.postgres.pid).uids().effective


@as_root
def test_a_home_closed_to_others_links_to_data_elsewhere(closed_home: Path) -> None:
    before = servers.start(closed_home)
    write_something(before)
    kill_both(before)

    after = servers.start(closed_home)

    assert something_is_there(after)
    assert (closed_home / "postgres").is_symlink()
    assert json.loads((closed_home / "servers.json").read_text())["data"] == str((closed_home / "postgres").resolve())


@as_root
def test_programs_closed_to_others_run_from_a_copy(open_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Path(tempfile.mkdtemp(prefix="gearbox-test-"))
    package = binaries.postgres_package()
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, closed / folder.name, ignore=shutil.ignore_patterns("pginstall", "*.a"))
    monkeypatch.syspath_prepend(str(closed))
    try:
        found = servers.start(open_home)
        assert str(open_home) in psutil.Process(found.postgres.pid).cmdline()[0]
        assert found.answering
    finally:
        shutil.rmtree(closed)


@as_root
def test_a_user_without_rights_runs_everything_itself(open_home: Path) -> None:
    interpreter = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if interpreter is None or not (Path(interpreter).stat().st_mode & 0o001):
        pytest.skip("no interpreter that a user without rights may run")
    os.chown(open_home.parent, NOBODY, NOBODY)
    code = (
        "import sys, pathlib; from config.embedded import servers; home = pathlib.Path(sys.argv[1]);"
        "first = servers.start(home); servers.stop(home); second = servers.start(home);"
        "print(first.database_url == second.database_url and second.answering); servers.stop(home)"
    )
    paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])

    done = subprocess.run(
        [interpreter, "-c", code, open_home],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={"PYTHONPATH": paths, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    if "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr:
        pytest.skip("that interpreter cannot load this environment's packages")

    assert (done.stdout, done.stderr) == ("True\n", "")
    assert (open_home / "postgres").stat().st_uid == NOBODY


@as_root
def test_a_full_disk_is_named(open_home: Path) -> None:
    open_home.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", open_home], check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        with pytest.raises(ServerDidNotStart, match="free space on the disk"):
            servers.start(open_home)
    finally:
        subprocess.run(["umount", open_home], check=True)
