"""`manage.py up`, `down` and `status` as an operator uses them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.speaking import Consumer, until
from tests.installation import ROOT, SERVERS_OF_OTHERS, free_port, of

UP = (sys.executable, "manage.py", "up")


def environment(home: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in SERVERS_OF_OTHERS}
    return {**kept, "GEARBOX_HOME": str(home), "WEB_PORT": str(free_port()), "FLOWER_PORT": str(free_port()), **settings}


def processes_of(home: Path) -> list[psutil.Process]:
    """Return every process that belongs to this home: the programs know it by their environment, the servers by their folder."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        words = [*(process.info["cmdline"] or []), (process.info["environ"] or {}).get("GEARBOX_HOME", "")]
        if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and any(str(home) in word for word in words):
            found.append(process)
    return found


def manage(settings: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=settings, capture_output=True, text=True, check=False, timeout=240
    )


def running(home: Path) -> set[str]:
    """Return the names of the programs that the supervisor has started."""
    roster = home / "processes.json"
    return {entry["name"] for entry in json.loads(roster.read_text())["entries"]} if roster.exists() else set()


def is_ready(settings: dict[str, str]) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{settings['WEB_PORT']}/readyz").is_success
    except httpx.HTTPError:
        return False


@contextmanager
def in_the_foreground(home: Path, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (home / "out").open("w") as out, subprocess.Popen(UP, cwd=ROOT, env=settings, stdout=out, stderr=out) as foreground:
        try:
            yield foreground
        finally:
            foreground.kill()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for process in processes_of(tmp_path):
        process.kill()


def test_an_interrupt_stops_everything_and_what_was_done_is_there_after_a_restart(home: Path) -> None:
    settings = environment(home)
    with in_the_foreground(home, settings) as foreground:
        roster = until(lambda: running(home), lambda names: "flower" in names, within=60)
        until(lambda: is_ready(settings), bool, within=60)
        consumer = Consumer(of(home, settings))
        job = consumer.submit("personalize@1", {"reader": "r-001"})["id"]
        consumer.job(job)
        foreground.send_signal(signal.SIGINT)
        ended = foreground.wait(timeout=15)

    assert ended == 0
    assert roster == {"web", "worker-p0", "worker-p1", "worker-p2", "worker-p3", "worker-control", "dispatcher", "beat", "flower"}
    assert processes_of(home) == []
    assert "worker-p0" in (home / "out").read_text()

    assert manage(settings, "up", "--detach", "--only", "web").returncode == 0
    assert running(home) == {"web"}
    with closing(consumer):
        assert consumer.get(f"/v1/jobs/{job}")["state"] == "completed"
    assert manage(settings, "down").returncode == 0
    assert processes_of(home) == []


def test_a_taken_port_is_named_with_the_remedy(home: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        refused = manage(environment(home, WEB_PORT=port), "up")

    assert refused.returncode != 0
    assert port in refused.stderr
    assert "WEB_PORT" in refused.stderr
    assert processes_of(home) == []


def test_a_named_server_that_is_not_there_is_named(home: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    settings = environment(home, DATABASE_URL=f"postgresql://a:b@{nowhere}/c", REDIS_URL=f"redis://{nowhere}/0")
    refused = manage(settings, "up")

    assert refused.returncode != 0
    assert "DATABASE_URL" in refused.stderr
    assert processes_of(home) == []


def test_status_says_that_nothing_runs(home: Path) -> None:
    told = manage(environment(home), "status")

    assert told.returncode == 1
    assert "start with `manage.py up`" in told.stdout
