"""A plain call and its answer, as ASGI has them: the body comes in one message, and the answer leaves in one piece, or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.web.http import RESPONSES

from config.serving.gate import Gate
from config.serving.plain_calls import Headers, PlainCall

Message = Mapping[str, Any]
EVENT_STREAM = b"text/event-stream"
LAST_CHUNK = b"0\r\n\r\n"
BROKEN: tuple[Message, Message] = (
    {"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain; charset=utf-8")]},
    {"type": "http.response.body", "body": b"Internal Server Error"},
)


class Line(Protocol):
    """The connection that a call came over."""

    def begin_stream(self) -> Gate:
        """Return what is shut while the other side lags behind."""

    def tell(self, written: bytes) -> None:
        """Write a part of the answer."""

    def end(self, written: bytes) -> None:
        """Write the last of the answer: the next call may come."""

    def break_off(self) -> None:
        """Close the connection once what was told is written."""


class Exchange:
    """Hands a call to an application, and its answer to the connection: an event stream as it comes, any other once it is complete."""

    def __init__(self, call: PlainCall, line: Line, *, server_name: str) -> None:
        self._call = call
        self._line = line
        self._server_name = server_name
        self._is_heard = False
        self._over = asyncio.Event()
        self._start: Message | None = None
        self._is_stream = False
        self._gate: Gate | None = None
        self._parts: list[bytes] = []

    @property
    def is_over(self) -> bool:
        """Whether the answer is given, or nobody is left to be given it."""
        return self._over.is_set()

    async def receive(self) -> Message:
        """Return the call's body; at a second time, wait until the exchange is over."""
        if not self._is_heard:
            self._is_heard = True
            return {"type": "http.request", "body": self._call.body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer, and return when more can be taken. What is said when all is over is dropped, as ASGI has it."""
        if self.is_over:
            await asyncio.sleep(0)  # else an application that says more and more leaves nobody else a turn
            return
        if message["type"] == "http.response.start":
            self._start, self._is_stream = message, is_stream(message)
            return
        body, goes_on = message.get("body", b""), bool(message.get("more_body"))
        if not self._is_stream:
            self._gather(body, goes_on=goes_on)
        elif (gate := self._pass_on(body, goes_on=goes_on)).is_shut and goes_on:
            await gate.opened()

    async def fail(self) -> None:
        """Answer for an application that broke before it had; a stream that began can only be broken off."""
        if self._gate is not None:
            self._over.set()
            self._line.break_off()
            return
        self._parts.clear()
        for message in BROKEN:
            await self.send(message)

    def lose(self) -> None:
        """The other side is gone."""
        self._over.set()

    def _gather(self, body: bytes, *, goes_on: bool) -> None:
        self._parts.append(body)
        if not goes_on:
            whole = b"".join(self._parts)
            self._end(self._head([(b"content-length", b"%d" % len(whole))]) + whole)

    def _pass_on(self, body: bytes, *, goes_on: bool) -> Gate:
        written = chunk(body) if body else b""
        gate = self._gate
        if gate is None:
            written = self._head([(b"transfer-encoding", b"chunked")]) + written
            gate = self._gate = self._line.begin_stream()
        if goes_on:
            self._line.tell(written)
        else:
            self._end(written + LAST_CHUNK)
        return gate

    def _end(self, written: bytes) -> None:
        self._over.set()
        self._line.end(written)

    def _head(self, framing: Headers) -> bytes:
        """Return the answer's head as it goes over the wire. Raises ValueError for a header that would break a line."""
        if self._start is None:
            raise ValueError("a body before its http.response.start")
        status = self._start["status"]
        lines = [b"HTTP/1.1 %d %b" % (status, RESPONSES.get(status, b"Unknown Status"))]
        named = set()
        for name, value in self._start.get("headers", ()):
            named.add(name.lower())
            lines.append(name + b": " + value)
        own = [(b"server", self._server_name.encode())] if self._server_name else []
        lines += [name + b": " + value for name, value in (*framing, *own) if name not in named]
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
            raise ValueError("a header of the answer holds a line break")
        return head + b"\r\n\r\n"


def is_stream(start: Message) -> bool:
    """Say whether an answer that begins so is a stream of events."""
    return any(name.lower() == b"content-type" and value.startswith(EVENT_STREAM) for name, value in start.get("headers", ()))


def chunk(body: bytes) -> bytes:
    """Return a part of an answer, which must not be empty, as a chunk (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(body), body)
