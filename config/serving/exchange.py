"""A plain call and its answer, as ASGI has them: the body comes in one message, and the answer leaves in one piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from twisted.web.http import RESPONSES

from config.serving.plain_calls import PlainCall

Message = Mapping[str, Any]
BROKEN: tuple[Message, Message] = (
    {"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain; charset=utf-8")]},
    {"type": "http.response.body", "body": b"Internal Server Error"},
)


class Exchange:
    """Hands a call to an application, and its answer, once complete, to `answered`."""

    def __init__(self, call: PlainCall, answered: Callable[[bytes], None], *, server_name: str) -> None:
        self._call = call
        self._answered = answered
        self._server_name = server_name
        self._is_heard = False
        self._over = asyncio.Event()
        self._start: Message | None = None
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
        """Take a part of the answer. What is said when all is over is dropped, as ASGI has it."""
        if self.is_over:
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._parts.append(message.get("body", b""))
        if not message.get("more_body"):
            written = self._written()
            self._over.set()
            self._answered(written)

    async def fail(self) -> None:
        """Answer for an application that broke before it had."""
        self._parts.clear()
        for message in BROKEN:
            await self.send(message)

    def lose(self) -> None:
        """The other side is gone."""
        self._over.set()

    def _written(self) -> bytes:
        """Return the answer as it goes over the wire. Raises ValueError for a header that would break a line."""
        if self._start is None:
            raise ValueError("a body before its http.response.start")
        status, body = self._start["status"], b"".join(self._parts)
        lines = [b"HTTP/1.1 %d %b" % (status, RESPONSES.get(status, b"Unknown Status"))]
        named = set()
        for name, value in self._start.get("headers", ()):
            named.add(name.lower())
            lines.append(name + b": " + value)
        if b"content-length" not in named:
            lines.append(b"content-length: %d" % len(body))
        if self._server_name and b"server" not in named:
            lines.append(b"server: " + self._server_name.encode())
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
            raise ValueError("a header of the answer holds a line break")
        return head + b"\r\n\r\n" + body
