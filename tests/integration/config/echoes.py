"""A web process that tells what it was told, and connections to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from config.supervisor.ending import until
from tests.installation import ROOT, free_port
from tests.integration.config.serving import SOON

BODY = b'{"endpoint": "x@1"}'


class Answers:
    """What the other side says, for one answer after another: each is read from it and none closes it."""

    def __init__(self, reader: BufferedReader) -> None:
        self._reader = reader

    def makefile(self, _: str) -> Answers:
        return self

    def close(self) -> None:
        """The connection goes on."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


@dataclass(frozen=True)
class Connection:
    """A kept connection."""

    socket: socket.socket
    reader: BufferedReader

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Answer:
        response = HTTPResponse(cast(socket.socket, Answers(self.reader)))
        response.begin()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def asked(self, data: bytes) -> Answer:
        self.send(data)
        return self.answer()


@dataclass(frozen=True)
class Served:
    """A web process that tells what it was told."""

    port: int
    told: Path
    process: subprocess.Popen[bytes]

    @property
    def heard(self) -> str:
        return self.told.read_text() if self.told.exists() else ""

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection, connection.makefile("rb") as reader:
            yield Connection(connection, reader)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


@contextmanager
def serving(home: Path, **given: Any) -> Iterator[Served]:
    port, told = free_port(), home / "told"
    words = [sys.executable, "-m", "tests.integration.config.echo", str(port), str(told), json.dumps(given)]
    with subprocess.Popen(words, cwd=ROOT, env={**os.environ, "UNREADY_S": "0.01"}) as process:
        try:
            assert until(lambda: _listens(port), patience=SOON)
            yield Served(port, told, process)
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def call(*more: str, body: bytes = BODY, path: str = "/v1/jobs") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}", *more)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
