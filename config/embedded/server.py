"""Starting and stopping one server: the same steps for PostgreSQL and Valkey."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self, TypeVar

import psutil

from config.embedded import diagnosis
from config.embedded.errors import ServerDidNotStart, ServerDidNotStop, ServerName
from config.embedded.launch import Launch, Life, exit_code, without_children, working_in
from config.supervisor.ending import AT_ONCE, Force, end, until
from config.supervisor.identity import Identity, is_alive

SETTLING = timedelta(seconds=10)
STARTING = timedelta(seconds=90)  # replaying the log after a hard kill on a slow disk takes its time


class Answer(StrEnum):
    """What a server says to a client that has our password."""

    YES = "yes"
    NOT_YET = "not_yet"
    STRANGER = "stranger"  # it knows another password


class Server(Protocol):
    """One embedded server under one home."""

    @property
    def name(self) -> ServerName: ...
    @property
    def home(self) -> Path: ...
    @property
    def folder(self) -> Path:
        """Its data, which is also its working folder: absolute, without links."""
        ...

    @property
    def url(self) -> str: ...
    @property
    def log(self) -> Path: ...

    def prepared(self) -> Self:
        """Make data and configuration ready while it does not run, and settle on a port."""
        ...

    def readmit(self) -> None:
        """Make our password valid in the data while it does not run."""
        ...

    def launch(self) -> Launch: ...
    def answer(self) -> Answer: ...

    def stopping(self, patience: timedelta) -> Sequence[Force]:
        """Return rising forces; the first stops it cleanly and has this patience."""
        ...


S = TypeVar("S", bound=Server)


def ensure(server: S, *, life: Life) -> tuple[S, Identity]:
    """Return the server as it answers, and its main process. Raises ServerDidNotStart; the data stays."""
    return running(server) or _begin(server, life)


def running(server: S) -> tuple[S, Identity] | None:
    """Return the server when it runs and answers; one that is just starting or stopping is waited for."""
    mains = main_processes(server)

    def settled() -> bool:
        return server.answer() is not Answer.NOT_YET or not any(is_alive(process) for process in mains)

    until(settled, patience=SETTLING if mains else timedelta())
    identity = Identity.of(mains[0].pid) if mains and server.answer() is Answer.YES else None
    return (server, identity) if identity else None


def stop(server: Server, *, patience: timedelta = SETTLING) -> None:
    """End every process of the server, cleanly if it goes within `patience`. Raises ServerDidNotStop."""
    end(main_processes(server), by=server.stopping(patience))
    left = end(processes(server), by=AT_ONCE)
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise ServerDidNotStop(server.name, reason=f"process {pids} outlived a kill", remedy="look at what the disk is doing")


def processes(server: Server) -> list[psutil.Process]:
    """Find the server and its own children, whoever started it."""
    return working_in(server.folder, named=server.name)


def main_processes(server: Server) -> list[psutil.Process]:
    """Find the server's process without its children; two only after somebody started a second by hand."""
    return without_children(processes(server))


def _begin(server: S, life: Life) -> tuple[S, Identity]:
    stop(server)
    ready = server.prepared()
    identity = _launched(ready, life)
    if ready.answer() is Answer.STRANGER:
        stop(ready)
        ready.readmit()
        identity = _launched(ready, life)
    return ready, identity


def _launched(server: Server, life: Life) -> Identity:
    pid = server.launch().start(life)
    identity = Identity.of(pid)
    ended: list[int] = []

    def settled() -> bool:
        code = exit_code(pid)
        ended.extend([] if code is None else [code])
        return bool(ended) or server.answer() is not Answer.NOT_YET

    if not until(settled, patience=STARTING) or ended or identity is None:
        stop(server)
        raise _failure(server, ended)
    return identity


def _failure(server: Server, ended: list[int]) -> ServerDidNotStart:
    said = diagnosis.tail(server.log)
    return ServerDidNotStart(
        server.name,
        reason=f"it ended with code {ended[0]}" if ended else f"it did not answer within {STARTING.total_seconds():.0f} s",
        remedy=diagnosis.remedy(said, home=server.home, log=server.log),
        log_tail=said,
    )
