"""Following a session: its events in order, once each, with a heartbeat in silence and the last event always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import redis.asyncio as redis

from invocation.domain.turns import LAST_EVENTS, EventType
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event, Hub, Subscription
from invocation.models import Turn
from invocation.selectors.chat import ended_after

HEARTBEAT_S = 2.0
SPEAKS = LAST_EVENTS | {EventType.TURN_STARTED, EventType.DELTA}
"""What ends a silence: neither a plan nor its progress is a word of the answer."""
SETTLED_S = 0.15
"""A worker writes an end to PostgreSQL and then, within a few frames, to the log."""


async def follow(session_id: UUID, *, after: int) -> AsyncGenerator[Event, None]:
    """Yield the session's events behind `after`, for ever.

    The log in Redis is read first and then followed; in two seconds of silence the log
    and PostgreSQL are asked what was missed, so that neither a lost word nor a wiped
    Redis can hide the end of a turn. Heartbeats and gaps carry the last seq.
    """
    hub = streams.hub()
    place = _Place(hub, session_id, after)
    subscription = await _subscribe(hub, session_id)
    try:
        async for event in place.catch_up():
            yield event
        while True:
            async for event in place.next(subscription):
                yield event
    finally:
        if subscription is not None:
            await subscription.close()


async def follow_turn(session_id: UUID, turn_id: UUID, *, after: int) -> AsyncGenerator[Event, None]:
    """Yield the events of one turn up to its last."""
    async with aclosing(follow(session_id, after=after)) as events:
        async for event in events:
            yield event
            if event.type in LAST_EVENTS and event.data.get("turn") == str(turn_id):
                return


class _Place:
    """How far one reader has read."""

    def __init__(self, hub: Hub, session_id: UUID, after: int) -> None:
        self._hub = hub
        self._session_id = session_id
        self._last = after
        self._has_lost = False
        self._silent_since = self._spoke_at = asyncio.get_running_loop().time()
        """When the last delta came, and when that or a heartbeat did."""

    async def next(self, subscription: Subscription | None) -> AsyncGenerator[Event, None]:
        """Yield what comes next: an event that was told, or after a silence what was missed, or a heartbeat."""
        try:
            async with asyncio.timeout_at(self._spoke_at + HEARTBEAT_S):
                event = await _told(subscription)
        except TimeoutError:
            async for missed in self._after_silence():
                yield missed
            return
        if event.seq > self._last + 1:
            async for each in self.catch_up():
                yield each
        if event.seq > self._last:
            async for each in self._pass(event):
                yield each

    async def catch_up(self) -> AsyncGenerator[Event, None]:
        """Yield what the log holds behind our place, and from PostgreSQL the ends that it does not hold.

        PostgreSQL is asked first, and knows an end a moment before the log does: only what
        the log lacks after that moment is lost.
        """
        ended = await off_loop(ended_after, self._session_id, self._last)
        logged = await self._logged()
        if not _holds_all(logged, ended):
            await asyncio.sleep(SETTLED_S)
            logged = await self._logged()
        for turn in ended:
            end = Event(**(turn.last_event or {}))
            if not any(event.seq == end.seq for event in logged):
                async for each in self._up_to(end.seq, logged):
                    yield each
                logged = [event for event in logged if event.seq > end.seq]
                if turn.text:
                    yield self._gap(turn)
                yield self._passed(end)
        async for each in self._up_to(None, logged):
            yield each

    async def _up_to(self, end: int | None, logged: Sequence[Event]) -> AsyncGenerator[Event, None]:
        for event in logged:
            if event.seq > self._last and (end is None or event.seq < end):
                async for each in self._pass(event):
                    yield each

    async def _pass(self, event: Event) -> AsyncGenerator[Event, None]:
        """Yield an event; before the end of a turn of whose log a part was lost, a gap event carries its stored text.

        Seqs grow by one; only an attempt begins further on.
        """
        if event.seq != self._last + 1 and event.type != EventType.TURN_STARTED:
            self._has_lost = True
        if event.type in LAST_EVENTS and self._has_lost:
            yield self._gap(await off_loop(Turn.objects.get, pk=event.data["turn"]))
        yield self._passed(event)

    def _gap(self, turn: Turn) -> Event:
        """What was retracted is not told again."""
        return self._passing(EventType.GAP, {"turn": str(turn.id), "text": "" if turn.retracted else turn.text})

    async def _logged(self) -> list[Event]:
        try:
            return await streams.read_after(self._hub.reader, str(self._session_id), self._last)
        except (redis.RedisError, OSError):
            return []

    async def _after_silence(self) -> AsyncGenerator[Event, None]:
        before = self._last
        async for event in self.catch_up():
            yield event
        if self._last == before or asyncio.get_running_loop().time() - self._spoke_at >= HEARTBEAT_S:
            self._spoke_at = asyncio.get_running_loop().time()
            waited = self._spoke_at - self._silent_since
            yield self._passing(EventType.HEARTBEAT, {"waited_ms": round(waited * 1000)})

    def _passed(self, event: Event) -> Event:
        self._last = event.seq
        self._has_lost = self._has_lost and event.type not in LAST_EVENTS
        if event.type in SPEAKS:
            self._silent_since = self._spoke_at = asyncio.get_running_loop().time()
        return event

    def _passing(self, kind: EventType, data: Mapping[str, Any]) -> Event:
        return Event(self._last, str(kind), datetime.now(UTC).isoformat(), dict(data))


def _holds_all(logged: Sequence[Event], ended: Sequence[Turn]) -> bool:
    seqs = {event.seq for event in logged}
    return all((turn.last_event or {}).get("seq") in seqs for turn in ended)


async def _subscribe(hub: Hub, session_id: UUID) -> Subscription | None:
    """Without Redis a reader still gets each turn's end, from PostgreSQL."""
    try:
        return await hub.subscribe(str(session_id))
    except (redis.RedisError, OSError):
        return None


async def _told(subscription: Subscription | None) -> Event:
    if subscription is None:
        await asyncio.sleep(HEARTBEAT_S * 2)
        raise TimeoutError
    return await subscription.queue.get()
