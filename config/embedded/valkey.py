"""Valkey under home: append-only file synced every second, nothing evicted, reached by password on the loopback."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from config.embedded.binaries import valkey_program
from config.embedded.errors import ServerName
from config.embedded.launch import Launch
from config.embedded.ports import choose_port, kept_port
from config.embedded.server import Answer
from config.kept import secret, write_whole
from config.listening import LOOPBACK
from config.supervisor.ending import AT_ONCE, Force

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
protected-mode yes
daemonize no
pidfile ""
set-proc-title no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """The Valkey of one home; `port` is 0 before the first start."""

    home: Path
    port: int
    password: str
    name: ServerName = ServerName.VALKEY

    @classmethod
    def under(cls, home: Path) -> Self:
        """Read what is kept of it."""
        return cls(home=home, port=kept_port(home, ServerName.VALKEY), password=secret(home, "valkey_password"))

    @property
    def folder(self) -> Path:
        return self.home / "valkey"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.home / "valkey.log"

    @property
    def configuration(self) -> Path:
        return self.folder / "valkey.conf"

    def prepared(self) -> Self:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        ready = replace(self, port=choose_port(self.home, self.name))
        write_whole(self.configuration, CONFIGURATION.format(host=LOOPBACK, port=ready.port, password=self.password))
        return ready

    def readmit(self) -> None:
        """Nothing to do: the password stands in the configuration, which each start writes."""

    def launch(self) -> Launch:
        argv = (str(valkey_program()), str(self.configuration))
        return Launch(argv=argv, folder=self.folder, log=self.log, clean_stop=signal.SIGTERM)

    def answer(self) -> Answer:
        return answer(self.url)

    def stopping(self, patience: timedelta) -> Sequence[Force]:
        return (Force(signal.SIGTERM, patience), *AT_ONCE)


def answer(url: str) -> Answer:
    """Ask the server at this address whether it serves us, within two seconds."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=2) as wire:
            said = _ask(wire, b"AUTH", (parts.password or "").encode()) + _ask(wire, b"PING")
    except OSError:
        return Answer.NOT_YET
    if b"WRONGPASS" in said:
        return Answer.STRANGER
    return Answer.YES if said == b"+OK\r\n+PONG\r\n" else Answer.NOT_YET


def _ask(wire: socket.socket, *words: bytes) -> bytes:
    lengths_and_words = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    wire.sendall(b"*%d\r\n%s" % (len(words), lengths_and_words))
    return wire.recv(1024)
