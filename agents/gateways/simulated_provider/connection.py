"""HTTP/1.1 as far as the simulated provider needs it: one connection, one request after the other.

Written on the transport itself, because it must stream thousands of small events a
second, end a call the moment that the client goes away, and drop a connection on purpose.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, cast

HEAD_LIMIT = 32 * 1024
LINGER_S = 1.0
PHRASES: Mapping[int, str] = MappingProxyType({**{status.value: status.phrase for status in HTTPStatus}, 529: "Overloaded"})
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request, whole. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Unreadable(ValueError):
    """What came is no request that can be answered; the connection ends after saying so."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


Answer = Callable[[HttpRequest, "Connection"], Coroutine[Any, Any, None]]


class Connection(asyncio.Protocol):
    """Reads requests, hands each to `answer` as a task, and cancels that task when the client goes away."""

    def __init__(self, answer: Answer, *, body_limit: int) -> None:
        self._answer = answer
        self._body_limit = body_limit
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._is_ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._task:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        self._buffer += data
        if self._task is None:
            self._next()

    def send(self, status: int, body: bytes, *, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Answer whole, as JSON."""
        self.write(_head(status, {"content-type": "application/json", "content-length": str(len(body)), **headers}) + body)

    def begin_stream(self, media_type: str) -> None:
        """Begin an answer that comes in pieces."""
        self.write(_head(HTTPStatus.OK, {"content-type": media_type, "cache-control": "no-cache", "transfer-encoding": "chunked"}))

    def send_piece(self, payload: bytes) -> None:
        """Send one piece of a streamed answer."""
        self.write(b"%x\r\n%b\r\n" % (len(payload), payload))

    def end_stream(self) -> None:
        self.write(b"0\r\n\r\n")

    def write(self, payload: bytes) -> None:
        if self._transport:
            self._transport.write(payload)

    async def drained(self) -> None:
        """Wait while the client reads slower than we write."""
        if not self._may_write.is_set():
            await self._may_write.wait()

    def drop(self) -> None:
        """Cut the connection without another word."""
        if self._transport:
            self._transport.abort()

    def _next(self) -> None:
        try:
            request = self._take()
        except Unreadable as error:
            self._end(error.status)
            return
        if request:
            self._task = asyncio.get_running_loop().create_task(self._answer(request, self))
            self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        failure = None if task.cancelled() else task.exception()
        if failure:
            asyncio.get_running_loop().call_exception_handler({"message": "An answer failed.", "exception": failure})
            self.drop()
        elif self._buffer and self._transport:
            self._next()

    def _take(self) -> HttpRequest | None:
        """Take one whole request off the buffer, or None if more must come. Raises Unreadable."""
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT)
        if end < 0:
            if len(self._buffer) >= HEAD_LIMIT:
                raise Unreadable(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        head = _read_head(bytes(self._buffer[:end]))
        length = _body_length(head.headers, limit=self._body_limit)
        whole = end + 4 + length
        if len(self._buffer) < whole:
            self._encourage(head)
            return None
        body = bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        return HttpRequest(method=head.method, path=head.path, headers=head.headers, body=body)

    def _encourage(self, head: HttpRequest) -> None:
        """Tell a client that asks first that its body is welcome; telling it twice does no harm."""
        if head.headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _end(self, status: HTTPStatus) -> None:
        """Refuse, then close a little later: closing under a client that still sends would lose it the answer."""
        self._is_ending = True
        self._buffer.clear()
        body = b'{"error":{"message":"%b","type":"invalid_request_error","param":null,"code":null}}' % status.phrase.encode()
        self.send(status, body, headers={"connection": "close"})
        if self._transport:
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)


def _read_head(head: bytes) -> HttpRequest:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Unreadable(HTTPStatus.BAD_REQUEST)
    headers = (line.partition(":") for line in lines)
    return HttpRequest(
        method=words[0], path=words[1].partition("?")[0], headers={name.strip().lower(): value.strip() for name, _, value in headers}
    )


def _body_length(headers: Mapping[str, str], *, limit: int) -> int:
    if "transfer-encoding" in headers:
        raise Unreadable(HTTPStatus.LENGTH_REQUIRED)
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise Unreadable(HTTPStatus.BAD_REQUEST)
    if int(length) > limit:
        raise Unreadable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return int(length)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {PHRASES.get(status, 'Unknown')}\r\n{''.join(lines)}\r\n".encode("latin-1")


def whole_seconds(wait: timedelta | None) -> int:
    """Return a wait as Retry-After says it: rounded up, at least one second."""
    return max(1, math.ceil(wait.total_seconds())) if wait else 1
