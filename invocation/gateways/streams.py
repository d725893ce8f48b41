"""A session's event log in Redis: each event under its own seq, and a word to whoever follows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import orjson
import redis as blocking
import redis.asyncio as redis
import structlog
from django.conf import settings

KEPT_EVENTS = 20_000
KEPT_S = 3_600
FRAME_S = 0.03

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Event:
    """One event object of the wire: `{seq, type, at, data}`."""

    seq: int
    type: str
    at: str
    data: dict[str, Any]

    def as_bytes(self) -> bytes:
        return orjson.dumps({"seq": self.seq, "type": self.type, "at": self.at, "data": self.data})

    @classmethod
    def parse(cls, raw: bytes) -> Event:
        return cls(**orjson.loads(raw))


def key(session_id: str) -> str:
    return f"gearbox:session:{session_id}"


def client(*, blocking: bool = False) -> redis.Redis:
    """Return a client of this loop. A blocking one has no socket time-out: it waits for others to speak."""
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=None if blocking else 5.0, socket_connect_timeout=2.0, max_connections=64
    )


def forget(session_ids: Iterable[str]) -> None:
    """Remove the logs of these sessions, from a thread that may block. Raises redis.RedisError."""
    with blocking.Redis.from_url(settings.REDIS_URL, socket_timeout=5.0, socket_connect_timeout=2.0) as store:
        store.delete(*map(key, session_ids))


class StreamWriter:
    """The one writer of a p0 process: pens hand it events, each flush is one pipeline.

    An event's seq is its Redis stream id, so a writer that was fenced out cannot go
    back behind a newer one. A Redis that is gone loses no answer: text and last event are in PostgreSQL.
    """

    def __init__(self) -> None:
        self._redis = client()
        self._dirty: dict[str, list[Event]] = {}
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def write(self, session_id: str, event: Event, *, urgent: bool) -> None:
        self._dirty.setdefault(session_id, []).append(event)
        self._wake.set()
        if urgent:
            self._urgent.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._flush_for_ever())

    async def drain(self) -> None:
        """Return when all that was written is out, or lost with Redis."""
        while self._dirty:
            self._urgent.set()
            await asyncio.sleep(FRAME_S / 3)

    async def aclose(self) -> None:
        """Write no more; what was not drained is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._redis.aclose()

    async def _flush_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._urgent.clear()
            taken, self._dirty = self._dirty, {}
            await self._flush(taken)
            await self._pause()

    async def _pause(self) -> None:
        """Gather a frame's worth, unless something urgent cuts in."""
        try:
            async with asyncio.timeout(FRAME_S):
                await self._urgent.wait()
        except TimeoutError:
            return

    async def _flush(self, taken: dict[str, list[Event]]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for session_id, events in taken.items():
            name = key(session_id)
            for event in events:
                raw = event.as_bytes()
                pipe.xadd(name, {"e": raw}, id=f"{event.seq}-0", maxlen=KEPT_EVENTS, approximate=True)
                pipe.publish(name, raw)
            pipe.expire(name, KEPT_S)
        try:
            await pipe.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as gone:
            log.warning("stream_write_lost", error=str(gone), sessions=len(taken))


async def read_after(source: redis.Redis, session_id: str, seq: int) -> list[Event]:
    """Return the session's events after `seq`, in order. Raises redis.RedisError."""
    entries: Any = await source.xrange(key(session_id), min=f"({seq}-0")
    return [Event.parse(fields[b"e"]) for _, fields in entries]


def shown_text(session_id: str, turn_id: str) -> str:
    """Return what the log holds of a turn's text, for a thread without a loop; nothing while Redis is away."""
    try:
        with blocking.Redis.from_url(settings.REDIS_URL, socket_timeout=2.0, socket_connect_timeout=1.0) as store:
            entries: Any = store.xrange(key(session_id))
    except (redis.RedisError, OSError):
        return ""
    events = [Event.parse(fields[b"e"]) for _, fields in entries]
    began = max((event.seq for event in events if event.type == "turn.started" and event.data.get("turn") == turn_id), default=None)
    return "" if began is None else "".join(event.data["text"] for event in events if event.seq > began and event.type == "delta")


class Hub:
    """The one reading connection of a web process: each followed session has a queue here."""

    def __init__(self) -> None:
        self.reader = client()
        self._redis = client(blocking=True)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        self._queues: dict[bytes, set[asyncio.Queue[Event]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def subscribe(self, session_id: str) -> Subscription:
        """Follow a session from now on. Raises redis.RedisError when Redis cannot be reached."""
        name = key(session_id).encode()
        queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=2_000)
        first = name not in self._queues
        self._queues.setdefault(name, set()).add(queue)
        try:
            if first:
                await self._pubsub.subscribe(name)
        except (redis.RedisError, OSError):
            self._forget(name, queue)
            raise
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())
        return Subscription(self, name, queue)

    async def unsubscribe(self, name: bytes, queue: asyncio.Queue[Event]) -> None:
        self._forget(name, queue)
        if name not in self._queues:
            try:
                await self._pubsub.unsubscribe(name)
            except (redis.RedisError, OSError) as gone:
                log.warning("unsubscribe_lost", error=str(gone))

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        await self._redis.aclose()
        await self.reader.aclose()

    def _forget(self, name: bytes, queue: asyncio.Queue[Event]) -> None:
        followers = self._queues.get(name, set())
        followers.discard(queue)
        if not followers:
            self._queues.pop(name, None)

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (redis.RedisError, OSError) as gone:
                log.warning("stream_read_lost", error=str(gone))
                await asyncio.sleep(0.5)

    async def _hear(self) -> None:
        if not self._pubsub.subscribed:
            await asyncio.sleep(0.02)
            return
        message = await self._pubsub.get_message(timeout=None)
        if message and message["type"] == "message":
            self._deliver(message["channel"], Event.parse(message["data"]))

    def _deliver(self, name: bytes, event: Event) -> None:
        """A reader too slow for its queue misses the word, not the event: it reads the log again."""
        for queue in self._queues.get(name, ()):
            if not queue.full():
                queue.put_nowait(event)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One follower's place in the hub."""

    hub: Hub
    name: bytes
    queue: asyncio.Queue[Event]

    async def close(self) -> None:
        await self.hub.unsubscribe(self.name, self.queue)


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
