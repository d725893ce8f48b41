"""A session's event log in Redis: each event under its own seq, and a word to whoever follows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import orjson
import redis as blocking
import redis.asyncio as redis
import structlog
from django.conf import settings

from invocation.gateways import cancellations
from invocation.gateways.link import REST_S, Link, LinkDown, pack

KEPT_EVENTS = 2_000
"""The newest events of a session, some fifty answers; what is older is in PostgreSQL as text."""
KEPT_S = 3_600
MOST_WAITING = 500
PAGE = 500
"""Events read of a log at once: whoever reads a long one must not hold up what others are just being told."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Event:
    """One event object of the wire: `{seq, type, at, data}`."""

    seq: int
    type: str
    at: str
    data: dict[str, Any]
    raw: bytes | None = field(default=None, compare=False, repr=False)
    """The event as it was read, so that it is not written anew for each reader."""

    def as_bytes(self) -> bytes:
        return self.raw or orjson.dumps({"seq": self.seq, "type": self.type, "at": self.at, "data": self.data})

    @classmethod
    def parse(cls, raw: bytes) -> Event:
        return cls(**orjson.loads(raw), raw=raw)


def key(session_id: str) -> str:
    return f"gearbox:session:{session_id}"


def client() -> redis.Redis:
    """Return a client of this loop, for what is asked seldom."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5.0, socket_connect_timeout=2.0, max_connections=64)


def forget(session_ids: Iterable[str]) -> None:
    """Remove the logs of these sessions, from a thread that may block. Raises redis.RedisError."""
    with blocking.Redis.from_url(settings.REDIS_URL, socket_timeout=5.0, socket_connect_timeout=2.0) as store:
        store.delete(*map(key, session_ids))


async def read_after(source: redis.Redis, session_id: str, seq: int) -> list[Event]:
    """Return the session's events after `seq`, in order. Raises redis.RedisError; a cancellation of its task is not lost."""
    with cancellations.kept():
        return _events(await source.xrange(key(session_id), min=f"({seq}-0"))


def _events(entries: Any) -> list[Event]:
    return [Event.parse(fields[b"e"]) for _, fields in entries]


class Mailbox:
    """What one follower was told and has not read: bounded, and honest about what it may have missed."""

    def __init__(self) -> None:
        self._told: deque[Event] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._silent_at = 0.0
        self._silence: asyncio.TimerHandle | None = None
        self._has_missed = False

    def put(self, event: Event) -> None:
        """A reader too slow for its mailbox misses the word, not the event: it reads the log again."""
        if len(self._told) >= MOST_WAITING:
            self.miss()
            return
        self._told.append(event)
        self._wake()

    def miss(self) -> None:
        """Let the follower know that something may have been said that it was not told."""
        self._told.clear()
        self._has_missed = True
        self._wake()

    async def take(self, *, within_s: float) -> list[Event]:
        """Return what was told, as soon as there is something; nothing after a silence, or where something was missed."""
        if not self._told and not self._has_missed:
            await self._word(within_s)
        found = list(self._told)
        self._told.clear()
        self._has_missed = False
        return found

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    async def _word(self, within_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        self._silent_at = loop.time() + within_s
        if self._silence is None or self._silence.when() > self._silent_at:
            self._set_timer(loop)
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self.close()
        self._silence = loop.call_at(self._silent_at, self._look)

    def _look(self) -> None:
        """Wake who has waited out the silence; one timer goes on through many words, each of which only puts off its end."""
        self._silence = None
        if self._waiting is None:
            return
        loop = self._waiting.get_loop()
        if loop.time() >= self._silent_at:
            self._wake()
        else:
            self._set_timer(loop)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Subscription:
    """One follower's place in the hub; dropped without a word, it is left all the same."""

    def __init__(self, hub: Hub, name: bytes) -> None:
        self.mailbox = Mailbox()
        self._hub = hub
        self._name = name

    def close(self) -> None:
        """Hear nothing any more; once or often."""
        self.mailbox.close()
        self._hub.leave(self._name, self.mailbox)

    def __del__(self) -> None:
        self.close()


class Hub:
    """Subscribed to every session that somebody follows; reads their logs, and runs what its loop runs often, over the same connection."""

    def __init__(self) -> None:
        self.link = Link(settings.REDIS_URL, pushed=self._hear, lost=self._has_lost)
        self._followers: dict[bytes, set[Mailbox]] = {}
        self._returning: asyncio.Task[None] | None = None

    async def subscribe(self, session_id: str) -> Subscription:
        """Follow a session from now on. Raises LinkDown, and then nobody follows."""
        await self.link.up()
        name = key(session_id).encode()
        subscription = Subscription(self, name)
        if name not in self._followers:
            self._followers[name] = set()
            self._tell("SUBSCRIBE", name)
        self._followers[name].add(subscription.mailbox)
        return subscription

    def leave(self, name: bytes, mailbox: Mailbox) -> None:
        followers = self._followers.get(name, set())
        followers.discard(mailbox)
        if not followers and self._followers.pop(name, None) is not None:
            self._tell("UNSUBSCRIBE", name)

    async def read_after(self, session_id: str, seq: int, *, most: int = PAGE) -> list[Event]:
        """Return the next page of the session's events after `seq`, in order. Raises LinkDown."""
        entries = await self.link.ask("XRANGE", key(session_id), f"({seq}-0", "+", "COUNT", most)
        return [Event.parse(fields[1]) for _, fields in entries]

    async def aclose(self) -> None:
        self._followers.clear()
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait([self._returning])
        await self.link.aclose()

    def _hear(self, told: Sequence[Any]) -> None:
        if told[0] != b"message":
            return
        followers = list(self._followers.get(told[1], ()))
        if followers:
            event = Event.parse(told[2])
            for mailbox in followers:
                mailbox.put(event)

    def _tell(self, *words: bytes | str) -> None:
        """Both are answered by a pushed message, not by an answer."""
        if self.link.is_up:  # a new connection subscribes to what is followed then
            self.link.tell(pack(*words), [])

    def _has_lost(self) -> None:
        if self._followers and self._returning is None:
            self._returning = asyncio.create_task(self._return())

    async def _return(self) -> None:
        """Come back, and let every follower look what was said meanwhile."""
        try:
            while self._followers and not self.link.is_up:
                try:
                    await self.link.up()
                except LinkDown as gone:
                    log.warning("stream_read_lost", error=str(gone))
                    await asyncio.sleep(REST_S)
            self._subscribe_again()
        finally:
            self._returning = None

    def _subscribe_again(self) -> None:
        if self._followers:
            self._tell("SUBSCRIBE", *self._followers)
        for followers in self._followers.values():
            for mailbox in list(followers):
                mailbox.miss()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """Return the hub of the running loop; a web process has one loop, hence one hub."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(loop)
    if found is None:
        found = _hubs[loop] = Hub()
    return found


async def aclose() -> None:
    """Close the running loop's hub; the next use opens another."""
    found = _hubs.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.aclose()
