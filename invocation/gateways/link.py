"""One connection to Redis that a whole event loop shares: words go out as they come, answers and pushed messages come back in order.

A client with a pool gives each waiting reader a connection of its own and each message a task's
worth of work; at a thousand pushed messages a second both cost more than what is in them.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio.connection import SSLConnection, parse_url

from quota.domain import silences
from quota.domain.silences import Silence

CONNECT_S = 2.0
ANSWER_S = 2.0
"""A connection on which nothing was answered for so long, though something was asked, is given up."""
REST_S = 0.5
"""Between two attempts to come back."""

SILENT = "The store answers nothing."
KNOWN_SCRIPTS = 64

Word = bytes | str | int | float
log = structlog.get_logger()


class LinkDown(ConnectionError):
    """The store cannot be reached, or was lost before it answered."""


class LinkRefused(LinkDown):
    """The store answered with an error; the text is its own."""


def pack(*words: Word) -> bytes:
    """Return a command as it is sent."""
    return hiredis.pack_command(words)  # type: ignore[arg-type, no-any-return]  # the stub says a tuple of one


class _Line(asyncio.Protocol):
    """The connection itself, in RESP3: what is pushed stands between the answers and is told apart by its type."""

    def __init__(self, silence: Silence, pushed: Callable[[Sequence[Any]], None], lost: Callable[[], None]) -> None:
        self._silence = silence
        self._pushed = pushed
        self._lost = lost
        self._reader = hiredis.Reader()
        self._asked: deque[asyncio.Future[Any] | None] = deque()
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._answered = self._seen = 0
        self._was_asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        self._silence.heard(at=time.monotonic())
        self._reader.feed(data)
        while (told := self._reader.gets()) is not False:
            if isinstance(told, hiredis.PushNotification):
                self._pushed(told)
            else:
                self._answer(told)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
        for waiting in self._asked:
            if waiting is not None and not waiting.done():
                waiting.set_exception(LinkDown("The connection to the store was lost."))
        self._asked.clear()
        self._lost()

    def send(self, packed: bytes, answers: Sequence[asyncio.Future[Any] | None]) -> None:
        """Send commands and queue who hears their answers; None for one that nobody waits for. Raises LinkDown."""
        if self._transport is None:
            raise LinkDown("The connection to the store was lost.")
        self._asked.extend(answers)
        self._transport.write(packed)

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, told: Any) -> None:
        self._answered += 1
        waiting = self._asked.popleft()
        if waiting is None:
            if isinstance(told, hiredis.ReplyError) and str(told).startswith("NOSCRIPT"):
                self.cut()  # the next connection brings it
        elif waiting.done():
            return
        elif isinstance(told, hiredis.ReplyError):
            waiting.set_exception(LinkRefused(str(told)))
        else:
            waiting.set_result(told)

    def _look(self) -> None:
        """Cut a connection that answers nothing any more; ask it something when it has nothing to answer."""
        if self._was_asked and self._answered == self._seen:
            log.warning("store_silent", for_s=ANSWER_S)
            self._silence.unanswered(since=time.monotonic() - ANSWER_S, at=time.monotonic())
            self.cut()
            return
        if not self._asked:
            self.send(pack("PING"), [None])
        self._seen, self._was_asked = self._answered, True
        self._watch = asyncio.get_running_loop().call_later(ANSWER_S, self._look)


class Link:
    """The connection as its users see it: made at first need, made again when it is asked for after it was lost.

    `greeting` is sent on each new connection before anything else. `pushed` hears what the store
    says unasked, `lost` that a connection was lost. While the store is known to be silent, one question
    at a time is put to it and the others are told at once that it is down. All methods belong to the loop on which it was first used.
    """

    def __init__(
        self,
        url: str,
        *,
        greeting: Sequence[bytes] = (),
        pushed: Callable[[Sequence[Any]], None] = lambda _: None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url
        self._silence = silences.of(url)
        self._greeting = greeting
        self._pushed = pushed
        self._lost = lost
        self._line: _Line | None = None
        self._connecting: asyncio.Task[_Line] | None = None

    @property
    def is_up(self) -> bool:
        return self._line is not None

    async def up(self) -> None:
        """Return when it is connected to a store that is not silent. Raises LinkDown."""
        if self._silence.is_known and (self._line is not None or not self._lets_ask()):
            raise LinkDown(SILENT)
        await self._connected()

    async def ask(self, *words: Word) -> Any:
        """Send one command and return its answer. Raises LinkDown, LinkRefused.

        Whoever gives up waiting lets the others know, where nothing at all was answered meanwhile.
        """
        if not self._lets_ask():
            raise LinkDown(SILENT)
        since = time.monotonic()
        try:
            await self._connected()
            answer = asyncio.get_running_loop().create_future()
            self.tell(pack(*words), [answer])
            return await answer
        except asyncio.CancelledError:
            self._silence.unanswered(since=since, at=time.monotonic())
            raise

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Word]) -> Any:
        """Run a script, which is sent in full only to a store that does not know it. Raises LinkDown, LinkRefused."""
        told = (len(keys), *keys, *args)
        try:
            return await self.ask("EVALSHA", _digest(script), *told)
        except LinkRefused as refused:
            if not str(refused).startswith("NOSCRIPT"):
                raise
        return await self.ask("EVAL", script, *told)

    def tell(self, packed: bytes, answers: Sequence[asyncio.Future[Any] | None]) -> None:
        """Send packed commands at once, in order, on a connection that is up; `answers` has a place for each. Raises LinkDown."""
        if self._line is None:
            raise LinkDown("There is no connection to the store.")
        self._line.send(packed, answers)

    async def aclose(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._line is not None:
            self._line.cut()
            await asyncio.sleep(0)

    def _lets_ask(self) -> bool:
        return self._silence.lets_ask(at=time.monotonic())

    async def _connected(self) -> None:
        if self._line is not None:
            return
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._has_connected)
        try:
            await asyncio.shield(self._connecting)
        except (OSError, TimeoutError, ValueError) as gone:
            raise LinkDown(f"The store cannot be reached: {gone}") from gone

    def _has_connected(self, task: asyncio.Task[_Line]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # heard, whoever waited

    async def _connect(self) -> _Line:
        line, since = _Line(self._silence, self._pushed, self._has_lost), time.monotonic()
        try:
            async with asyncio.timeout(CONNECT_S):
                await _open(self._url, line)
                await self._greet(line)
        except TimeoutError:
            self._silence.unanswered(since=since, at=time.monotonic())
            raise
        self._line = line
        return line

    async def _greet(self, line: _Line) -> None:
        try:
            for command in (*_hello(self._url), *self._greeting):
                answer = asyncio.get_running_loop().create_future()
                line.send(command, [answer])
                await answer
        except BaseException:
            line.cut()
            raise

    def _has_lost(self) -> None:
        was_up, self._line = self._line is not None, None
        if was_up:
            self._lost()


@lru_cache(KNOWN_SCRIPTS)
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


async def _open(url: str, line: _Line) -> None:
    told: dict[str, Any] = dict(parse_url(url))
    loop = asyncio.get_running_loop()
    if "path" in told:
        await loop.create_unix_connection(lambda: line, told["path"])
        return
    tls = _tls(told) if told.get("connection_class") is SSLConnection else None
    await loop.create_connection(lambda: line, told.get("host", "localhost"), told.get("port", 6379), ssl=tls)


def _tls(told: dict[str, Any]) -> ssl.SSLContext:
    """Check certificates unless the address says `ssl_cert_reqs=none`, as redis-py reads it."""
    context = ssl.create_default_context(cafile=told.get("ssl_ca_certs"))
    if str(told.get("ssl_cert_reqs", "required")).lower() == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _hello(url: str) -> list[bytes]:
    told: dict[str, Any] = dict(parse_url(url))
    who = ("AUTH", told.get("username") or "default", told["password"]) if "password" in told else ()
    return [pack("HELLO", 3, *who), pack("SELECT", told.get("db", 0))]
