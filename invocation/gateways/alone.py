"""Starts processes that each run one thing alone, as forks of a warm template: in milliseconds instead of a second."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

log = structlog.get_logger()
SCRIPT = Path(__file__).with_name("template.py")


class Template:
    """One template process and its forks; made at once, warm some time later. What is wanted before waits in its channel.

    `load` names what it calls to get warm, `live` what each fork calls, with the words that it
    was forked with and with `leash`: a descriptor that ends when this process dies or lets go.
    `ended(name, code)` is called on a thread of its own for each fork that ended, and with None
    for one of whose end nobody can tell: the template was lost, and the fork was let go.
    """

    def __init__(self, *, load: str, live: str, ended: Callable[[str, int | None], None]) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self._living: set[str] = set()
        held, self._leash = os.pipe()
        self._channel, theirs = socket.socketpair()
        terms = {"path": sys.path, "channel": theirs.fileno(), "leash": held, "load": load, "live": live}
        words = [sys.executable, "-P", str(SCRIPT), json.dumps(terms)]
        self.process = subprocess.Popen(words, pass_fds=(theirs.fileno(), held), stdin=subprocess.DEVNULL)  # noqa: S603
        theirs.close()
        os.close(held)
        self._is_held = True
        threading.Thread(target=self._hear, name="template", daemon=True).start()

    @property
    def is_held(self) -> bool:
        """Whether it may be forked: it is there, and was not let go."""
        return self._is_held

    def fork(self, name: str, given: Mapping[str, str | int]) -> None:
        """Start a process that lives with these words. Raises OSError if the template is gone: then nothing was started."""
        with self._lock:
            if not self._is_held:
                raise BrokenPipeError("the template is gone")
            self._channel.sendall(json.dumps({"name": name, "given": given}).encode() + b"\n")
            self._living.add(name)

    def let_go(self) -> None:
        """Tell every fork that this process does not need it any more; it ends when it can."""
        with self._lock:
            if self._is_held:
                os.close(self._leash)
            self._is_held = False

    def close(self) -> None:
        """Let the forks go and end the template; those that still live end by themselves."""
        self.let_go()
        with self._lock:
            if self._channel.fileno() >= 0:
                self._channel.shutdown(socket.SHUT_RDWR)

    def _hear(self) -> None:
        with self._channel.makefile("rb") as told:
            for line in told:
                end = json.loads(line)
                self._tell(end["name"], end["code"])
        self.let_go()
        with self._lock:
            self._channel.close()
        for name in list(self._living):
            self._tell(name, None)
        log.info("template_ended", code=self.process.wait())

    def _tell(self, name: str, code: int | None) -> None:
        with self._lock:
            self._living.discard(name)
        self._ended(name, code)
