"""`startagent` writes an agent whose own test passes as written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.management.commands.startagent import TEMPLATES
from agents.services.loading import AgentModuleUnloadable, load
from agents.services.starting import BadAgentName, FolderExists, start

ROOT = Path(__file__).resolve().parents[3]


def test_the_generated_test_passes_as_generated(tmp_path: Path) -> None:
    written = start("tea_adviser", folder=tmp_path, templates=TEMPLATES)
    tried = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:django", str(written)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "2 passed" in tried.stdout
    assert sorted(path.name for path in written.glob("*.py")) == [
        "__init__.py",
        "agent.py",
        "rubric.py",
        "skills.py",
        "test_tea_adviser.py",
    ]


@pytest.mark.parametrize("name", ["", "Tea", "9x", "a", "tea-adviser", "../up", "class", "json", "agents", "x" * 41])
def test_a_bad_name_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadAgentName):
        start(name, folder=tmp_path / "new", templates=TEMPLATES)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tea").mkdir()

    with pytest.raises(FolderExists):
        start("tea", folder=tmp_path, templates=TEMPLATES)
    assert not list((tmp_path / "tea").iterdir())


def test_a_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(AgentModuleUnloadable, match=r"no_such_agents\.agent"):
        load(["no_such_agents.agent"])
