"""The template of processes that run one thing alone: warm, of one thread, without a connection; a fork of it starts at once.

Run as a script by gateways/alone.py. It reads a line of JSON for each fork that is wanted and
writes one for each that has ended; it ends when nobody is left to write to it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NoReturn

MOST_BYTES = 65_536
Life = Callable[..., None]


def main(terms: str) -> None:
    wanted: dict[str, Any] = json.loads(terms)
    sys.path[:] = wanted["path"]
    for signum in (signal.SIGINT, signal.SIGTERM):  # whoever ends our worker ends us by closing the channel
        signal.signal(signum, signal.SIG_IGN)
    life = _load(wanted["load"], wanted["live"])
    with socket.socket(fileno=wanted["channel"]) as channel:
        _Forks(channel, leash=wanted["leash"], life=life).serve()


def _load(load: str, live: str) -> Life:
    """Import and call what makes a fork quick, and let the forks share its memory: the collector will not touch it."""
    import django  # noqa: PLC0415  (found by the path that was given)

    django.setup()
    _named(load)()
    gc.collect()
    gc.freeze()
    return _named(live)


def _named(dotted: str) -> Life:
    module, _, name = dotted.rpartition(".")
    found: Life = getattr(import_module(module), name)
    return found


class _Forks:
    """The forks that live, by pid, each with the name under which it was wanted."""

    def __init__(self, channel: socket.socket, *, leash: int, life: Life) -> None:
        self._channel = channel
        self._leash = leash
        self._life = life
        self._names: dict[int, str] = {}
        self._unread = b""

    def serve(self) -> None:
        """Fork and tell of ends until the channel is closed; the forks see that by the leash."""
        ended = _ends_of_forks()
        while True:
            readable, _, _ = select.select([self._channel.fileno(), ended], [], [])
            if ended in readable:
                os.read(ended, MOST_BYTES)
                self._tell_of_the_ended()
            if self._channel.fileno() in readable and not self._read():
                return

    def _read(self) -> bool:
        told = self._channel.recv(MOST_BYTES)
        *lines, self._unread = (self._unread + told).split(b"\n")
        for line in lines:
            order = json.loads(line)
            self._fork(order["name"], order["given"])
        return bool(told)

    def _fork(self, name: str, given: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            self._live(given)
        self._names[pid] = name

    def _live(self, given: dict[str, Any]) -> NoReturn:
        """Be the fork. Nothing of the template's is left in it but its memory and the leash."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._channel.close()
            self._life(leash=self._leash, **given)
            code = 0
        except BaseException:  # noqa: BLE001  (the fork's last boundary: it must never go on as a second template)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _tell_of_the_ended(self) -> None:
        for pid, code in _ended():
            told = {"name": self._names.pop(pid), "code": code}
            self._channel.sendall(json.dumps(told).encode() + b"\n")


def _ends_of_forks() -> int:
    """Return a descriptor that is readable when a fork has ended."""
    ended, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    return ended


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(sys.argv[1])
