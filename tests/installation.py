"""A whole installation of its own, as `manage.py up` starts it: every process, embedded servers, free ports."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVERS_OF_OTHERS = frozenset({"DATABASE_URL", "REDIS_URL", "BROKER_URL", "BATCH_DATABASE_URL"})
KEY = re.compile(r"gbx_\S+")
PATIENT = {"FIRST_DELTA_GRACE_MS": "4000"}
"""Tests share their machine: a first word that comes late is the subject of tests of its own."""


@dataclass(frozen=True)
class Installation:
    """A running Gearbox and a key of a tenant without caps."""

    home: Path
    base_url: str
    flower_url: str
    environment: dict[str, str] = field(repr=False)
    key: str = field(repr=False)

    def manage(self, *words: str) -> str:
        """Run a command of this installation and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, f"manage.py {' '.join(words)}\n{done.stdout}\n{done.stderr}\n{self.log()[-4000:]}"
        return done.stdout

    def log(self) -> str:
        path = self.home / "up.log"
        return path.read_text() if path.exists() else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path, **settings: str) -> Installation:
    """Start one in the background, and make a key."""
    web, flower = free_port(), free_port()
    kept = {name: value for name, value in os.environ.items() if name not in SERVERS_OF_OTHERS}
    environment = {**kept, **PATIENT, "GEARBOX_HOME": str(home), "WEB_PORT": str(web), "FLOWER_PORT": str(flower), **settings}
    _at(home, environment).manage("up", "--detach")
    return of(home, environment)


def of(home: Path, environment: dict[str, str]) -> Installation:
    """Return the one that runs in this environment, with a key made for it."""
    bare = _at(home, environment)
    found = KEY.search(bare.manage("keys", "create", "--tenant", "acceptance", "--plan", "house"))
    assert found
    return Installation(home, bare.base_url, bare.flower_url, environment, found.group())


def _at(home: Path, environment: dict[str, str]) -> Installation:
    web, flower = (f"http://127.0.0.1:{environment[name]}" for name in ("WEB_PORT", "FLOWER_PORT"))
    return Installation(home, web, flower, environment, "")
