"""Starts a server's process apart from ours, and finds the processes that work in a folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from config.embedded.account import Account
from config.supervisor.leashed import leashed

LOG_LIMIT = 10_000_000


class Life(StrEnum):
    """How long a server runs."""

    LASTING = "lasting"  # until it is stopped
    CALLERS = "callers"  # at most as long as the thread that started it


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A server's command, its working folder, its log, and the signal that makes it stop cleanly."""

    argv: tuple[str, ...]
    folder: Path
    log: Path
    clean_stop: signal.Signals
    account: Account | None = None

    def start(self, life: Life) -> int:
        """Start it in a session of its own and return its pid; whether it works is to be seen."""
        _shorten(self.log)
        command = self._command(life)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), *((os.POSIX_SPAWN_DUP2, log, fd) for fd in (1, 2))]
        try:
            return os.posix_spawn(command[0], command, plain_environment(), file_actions=streams, setsid=True)
        finally:
            os.close(log)

    def _command(self, life: Life) -> list[str]:
        terms: dict[str, str | int] = {"cwd": str(self.folder)}
        if self.account:
            terms |= {"uid": self.account.uid, "gid": self.account.gid}
        return leashed(self.argv, death_signal=self.clean_stop if life is Life.CALLERS else None, **terms)


def plain_environment() -> dict[str, str]:
    """Return our environment without what would change how PostgreSQL's programs behave."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def working_in(folder: Path, *, named: str) -> list[psutil.Process]:
    """Find the living processes of this name whose working folder it is: truer than any pid file.

    Those of other users, whom we may not look at, are not found.
    """
    return [process for process in psutil.process_iter() if _works_in(process, str(folder), named)]


def without_children(found: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Leave out whose parent is among them, and who has ended since they were found: a crashing server's children do."""
    parents = {process: _parent(process) for process in found}
    pids = {process.pid for process in found}
    return [process for process, parent in parents.items() if parent is not None and parent not in pids]


def exit_code(pid: int) -> int | None:
    """Take the exit of a child of ours off the process table. None while it runs or when it is not ours."""
    with suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    return None


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _works_in(process: psutil.Process, folder: str, named: str) -> bool:
    try:
        return process.name().startswith(named) and process.cwd() == folder
    except (psutil.Error, OSError):
        return False


def _shorten(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))
