"""A whole installation of its own in a temporary folder: started, asked, stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.installation import KEY, ROOT, free_port

SERVERS_OF_OTHERS = frozenset({"DATABASE_URL", "REDIS_URL", "BROKER_URL", "BATCH_DATABASE_URL"})


class DidNotAnswer(RuntimeError):
    """The installation did not do what was asked; the text says what it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A checkout, the Python that runs it, and the home and ports of its own."""

    root: Path
    python: Path
    home: Path
    port: int
    environment: dict[str, str] = field(repr=False)

    def manage(self, *words: str) -> str:
        """Run a command to its end. Raises DidNotAnswer with its output when it fails."""
        return run([str(self.python), "manage.py", *words], cwd=self.root, environment=self.environment)

    def make_key(self) -> str:
        found = KEY.search(self.manage("keys", "create", "--tenant", "benchmark", "--plan", "house"))
        if found is None:
            raise DidNotAnswer("keys create printed no key")
        return found.group()

    def chat(self, key: str) -> str:
        """Ask one question and return the whole answer. Raises DidNotAnswer if the turn is not completed."""
        body = {"endpoint": "chat@1", "input": {"text": "Recommend a finished seinen thriller"}}
        url, headers = f"http://127.0.0.1:{self.port}/v1/chat", {"Authorization": f"Bearer {key}"}
        with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
            lines = list(answer.iter_lines())
        if "event: turn.completed" not in lines:
            raise DidNotAnswer("\n".join(lines))
        events = [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
        return "".join(event["data"].get("text", "") for event in events if event["type"] == "delta")


@contextmanager
def installed(root: Path = ROOT, *, python: Path = Path(sys.executable)) -> Iterator[Installed]:
    """Yield an installation that is not up yet; whatever it started is down afterwards."""
    with tempfile.TemporaryDirectory(prefix="gearbox-") as folder:
        port = free_port()
        own = {"GEARBOX_HOME": folder, "WEB_PORT": str(port), "FLOWER_PORT": str(free_port())}
        environment = {name: value for name, value in os.environ.items() if name not in SERVERS_OF_OTHERS} | own
        installation = Installed(root=root, python=python, home=Path(folder), port=port, environment=environment)
        try:
            yield installation
        finally:
            if python.exists():
                installation.manage("down")


def run(argv: list[str], *, cwd: Path, environment: dict[str, str]) -> str:
    """Run to the end, at most ten minutes. Raises DidNotAnswer with the output when it fails."""
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise DidNotAnswer(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout
