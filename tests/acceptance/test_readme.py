"""Every command of README, quickstart and how-tos that is marked `sh test` works as written against a running installation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.speaking import BATCH_S
from tests.installation import ROOT, Installation

PAGES = [ROOT / "README.md", ROOT / "docs" / "quickstart.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
MARKED = re.compile(r"^```sh test\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTED_URL = "http://127.0.0.1:8000"
REFUSED_ON_PURPOSE = {"batches.md": {"manifest_invalid"}}
EVERY_MODE = ("event: turn.completed", "event: job.completed", '"mode":"batch-window"', '"next_fire_at":')
SHOWN = {"README.md": EVERY_MODE, "chat.md": ("event: turn.completed",), "jobs.md": ("event: job.completed", '"questions":null')}


def script(page: Path, *, url: str) -> str:
    """Return a page's marked commands as one script, with this installation's address and Python."""
    text = "\n".join(MARKED.findall(page.read_text()))
    return text.replace(DOCUMENTED_URL, url).replace(".venv/bin/python", sys.executable)


def shell(commands: str, *, up: Installation) -> subprocess.CompletedProcess[str]:
    given = {**up.environment, "URL": up.base_url, "AUTH": f"Authorization: Bearer {up.key}"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=2 * BATCH_S
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_marked_command_of_a_page_works(page: Path, up: Installation) -> None:
    commands = script(page, url=up.base_url)

    done = shell(commands, up=up)

    assert commands, "the page marks no command"
    assert done.returncode == 0, done.stdout + done.stderr
    assert [words for words in SHOWN.get(page.name, ()) if words not in done.stdout + done.stderr] == []
    assert set(re.findall(r'"code":"(\w+)"', done.stdout)) == REFUSED_ON_PURPOSE.get(page.name, set())
