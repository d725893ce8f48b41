"""Real processes of the tests' own: workers of a class and a dispatcher, on the test database and broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from django.conf import settings
from django.db import connection

from config.celery import app

ROOT = Path(__file__).resolve().parents[3]
DECLARED = "config.endpoints,tests.integration.invocation.trial,tests.integration.invocation.harmful"
NO_ROOT_WARNING = "ignore:You're running the worker with superuser privileges"


def environment(**given: str) -> dict[str, str]:
    """Return what a process of this test session needs, quick to notice what happens."""
    found = connection.settings_dict
    url = f"postgresql://{found['USER']}:{found['PASSWORD']}@{found['HOST']}:{found['PORT']}/{found['NAME']}"
    ours = {
        "LEASE_S": "3",
        "HEARTBEAT_S": "0.5",
        "DRAIN_S": "3",
        "CELERY_SKIP_CHECKS": "1",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONWARNINGS": NO_ROOT_WARNING,
        "DATABASE_URL": url,
        "BROKER_URL": settings.BROKER_URL,
        "ENDPOINT_MODULES": DECLARED,
    }
    return {**os.environ, **ours, **given}


class Crew:
    """The processes that a test started; all of them, and theirs, are gone when it ends."""

    def __init__(self, folder: Path, **given: str) -> None:
        self._environment = environment(**given)
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def worker(self, name: str, *, priority_class: str = "p1") -> subprocess.Popen[bytes]:
        flags = ["-c", "4", "--without-gossip", "--without-mingle", "--loglevel", "WARNING", "-E"]
        return self._start(
            name, ["-m", "celery", "--quiet", "-A", "config.celery", "worker", "-Q", priority_class, "-n", f"{name}@%h", *flags]
        )

    def dispatcher(self) -> subprocess.Popen[bytes]:
        return self._start("dispatcher", ["manage.py", "dispatcher"])

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def logs(self) -> str:
        return "\n".join(f"--- {path.stem}\n{path.read_text()[-6_000:]}" for path in sorted(self._folder.glob("*.log")))

    def _start(self, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as out:
            process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=self._environment, stdout=out, stderr=subprocess.STDOUT)
        self._started.append(process)
        return process

    def end(self) -> None:
        family = [each for process in self._started for each in descendants(process.pid)]
        for process in self._started:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for each in family:
            if each.is_running():
                each.kill()


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextmanager
def crew(folder: Path, **given: str) -> Iterator[Crew]:
    """Begin with an empty broker; a failure shows what the processes said."""
    app.control.purge()
    started = Crew(folder, **given)
    try:
        yield started
    except BaseException as failed:
        failed.add_note(started.logs())
        raise
    finally:
        started.end()


def wait_until(condition: Callable[[], bool], *, within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.05)
