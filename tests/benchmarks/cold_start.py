"""From a fresh clone to the first chat answer, and from stopped to the first chat answer."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.installed import Installed, installed
from tests.benchmarks.installed import run as execute
from tests.installation import ROOT

FIRST_S = 120.0
SECOND_S = 20.0


def run() -> Figure:
    """Measure what is committed: a clone has nothing else. The package cache is filled before, outside of the time."""
    with tempfile.TemporaryDirectory(prefix="gearbox-clone-") as folder:
        _fill_the_package_cache(Path(folder) / "packages")
        clone = Path(folder) / "clone"
        with installed(clone, python=clone / ".venv" / "bin" / "python") as ours:
            set_up = _seconds(lambda: _set_up(ours))
            first = _seconds(lambda: _start_and_ask(ours))
            ours.manage("down")
            second = _seconds(lambda: _start_and_ask(ours))
    return Figure(
        name="cold_start",
        unit="s",
        main=Row(what="fresh clone to first answer, packages cached", value=set_up + first, target=FIRST_S),
        beside=(
            Row(what="second start to first answer", value=second, target=SECOND_S),
            Row(what="of the first: clone, environment, packages", value=set_up),
            Row(what="of the first: servers, tables, processes, answer", value=first),
        ),
    )


def _fill_the_package_cache(folder: Path) -> None:
    wanted = ["--require-hashes", "--requirement", str(ROOT / "requirements.txt"), "--dest", str(folder)]
    execute([sys.executable, "-m", "pip", "download", "--quiet", *wanted], cwd=ROOT, environment=dict(os.environ))


def _set_up(ours: Installed) -> None:
    execute(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(ours.root)], cwd=ROOT, environment=ours.environment)
    execute(["make", f"PYTHON={sys.executable}", ".venv/.runtime"], cwd=ours.root, environment=ours.environment)


def _start_and_ask(ours: Installed) -> None:
    ours.manage("up", "--detach")
    ours.chat(ours.make_key())


def _seconds(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
