"""Starts `up` in the background and waits until it serves."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from config import processes
from config.embedded import diagnosis
from config.env import ROOT, Env
from config.supervisor.ending import until
from config.supervisor.roster import Roster
from config.up import UpRefused, already_up, chosen, running

READY_WITHIN = timedelta(minutes=3)


def start(env: Env, *, only: Sequence[str]) -> Path:
    """Start `up` apart from this terminal and return its log's path when all its programs run and web is ready.

    Raises UpRefused with the log's last lines when it ends before, or is not ready in time (then it goes on).
    """
    names = chosen(env, only)
    if running(env.home):
        raise UpRefused(already_up(env.home))
    log = env.home / "up.log"
    child = _spawn(names, log)
    in_time = until(lambda: child.poll() is not None or _is_ready(env, names), patience=READY_WITHIN)
    if child.returncode is not None or not in_time:
        reason = "ended" if child.returncode is not None else f"is not ready after {READY_WITHIN}"
        raise UpRefused(f"`up` {reason}; the last lines of {log}:\n{diagnosis.tail(log)}")
    child.returncode = 0  # it lives on without us
    return log


def _spawn(names: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603
            [*processes.MANAGE, "up", "--only", ",".join(names)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _is_ready(env: Env, names: Sequence[str]) -> bool:
    roster = Roster.read(env.home)
    started = roster is not None and all(roster.of(name) for name in names)
    return started and ("web" not in names or _answers(_ready_url(env)))


def _ready_url(env: Env) -> str:
    host = env.web_host if env.web_host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
    return f"http://{host}:{env.web_port}/readyz"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
