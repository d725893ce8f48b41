"""Each program can be asked whether it does its work; containers rely on the answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.alive import CHECKS
from tests.acceptance.speaking import BATCH_S, until
from tests.installation import ROOT, Installation


@pytest.mark.parametrize("name", CHECKS)
def test_a_program_that_runs_is_alive(name: str, up: Installation) -> None:
    told = until(lambda: asked(name, up.environment), lambda done: done.returncode == 0, within=BATCH_S)

    assert told.stdout == f"{name} is alive\n"


@pytest.mark.parametrize("name", sorted(CHECKS.keys() - {"worker-p1", "worker-p2", "worker-p3"}))
def test_a_program_that_nobody_started_is_not_alive(name: str, tmp_path: Path, up: Installation) -> None:
    """The home is empty, and nothing listens where its settings point."""
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    environment = {**up.environment, **nowhere, "GEARBOX_HOME": str(tmp_path), "WEB_PORT": "1", "FLOWER_PORT": "1"}

    done = asked(name, environment)

    assert done.returncode == 1
    assert "alive" in done.stdout or "cannot be asked" in done.stderr


def asked(name: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Return what `manage.py alive` says about the program under these settings."""
    return subprocess.run(
        [sys.executable, "manage.py", "alive", name], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
