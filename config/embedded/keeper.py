"""Keeps both servers running for as long as a program wants them, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from config.embedded.errors import EmbeddedError
from config.embedded.launch import Life, exit_code
from config.embedded.servers import Servers, start, stop

LOOK_EVERY_S = 0.5
RETRY_AFTER_S = 5.0
STOP_PATIENCE = timedelta(seconds=2.5)


class Keeper:
    """A context that starts the servers, restarts one that dies, and stops both at the end.

    One thread of its own does all this, so that the servers also end when this process is killed. `say` receives
    a line about each event, `moved` is called when a restart had to change an address; both from that thread.
    """

    def __init__(self, home: Path, *, say: Callable[[str], None], moved: Callable[[], None]) -> None:
        self._home = home
        self._say = say
        self._moved = moved
        self._first: Future[Servers] = Future()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="embedded-servers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join()

    def servers(self) -> Servers:
        """Wait for the first start. Raises ServerDidNotStart."""
        return self._first.result()

    def _keep(self) -> None:
        try:
            current = start(self._home, life=Life.CALLERS)
            self._first.set_result(current)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
            self._first.set_exception(error)
            return
        self._heal_until_the_end(current)
        self._stop()

    def _heal_until_the_end(self, current: Servers) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            if not current.alive:
                current = self._healed(current)

    def _healed(self, dead: Servers) -> Servers:
        _reap(dead)
        self._say("an embedded server died; starting it again")
        try:
            current = start(self._home, life=Life.CALLERS)
        except EmbeddedError as error:
            self._say(str(error))
            self._ending.wait(RETRY_AFTER_S)
            return dead
        if (current.database_url, current.redis_url) != (dead.database_url, dead.redis_url):
            self._moved()
        return current

    def _stop(self) -> None:
        try:
            stop(self._home, patience=STOP_PATIENCE)
        except EmbeddedError as error:
            self._say(str(error))


def _reap(servers: Servers) -> None:
    """Let the system forget those that ended; we are their parent."""
    for identity in (servers.postgres, servers.valkey):
        exit_code(identity.pid)
