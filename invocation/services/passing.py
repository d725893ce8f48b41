"""A session's events on their way to one reader: measured, and gathered while the reader is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from uuid import UUID

from invocation.domain.measures import FIRST_DELTA, GAP, HEARTBEATS, RETRACTIONS
from invocation.domain.sessions import Line
from invocation.domain.turns import LAST_EVENTS, EventType
from invocation.gateways.streams import Event
from invocation.services import tallies

SLOW_S = 0.05
MOST_TEXT = 32_768
"""Characters of one gathered delta."""


async def gathered(events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    """Yield the events; once the reader took longer than 50 ms for one, deltas that are ready go as one.

    Such a delta has the last one's seq, and `from`, the first one's: a reader that counts finds none missing.
    What is not ready is not waited for.
    """
    clock = asyncio.get_running_loop().time
    ahead: asyncio.Task[Event | None] | None = None
    is_slow = False
    try:
        while True:
            event = await (ahead if ahead is not None else anext(events, None))
            ahead = None
            if event is None:
                return
            if is_slow:
                event, ahead = await _with_the_ready(event, events)
            began = clock()
            yield event
            is_slow = clock() - began > SLOW_S
    finally:
        if ahead is not None:
            await _given_up(ahead)


async def _with_the_ready(event: Event, events: AsyncIterator[Event]) -> tuple[Event, asyncio.Task[Event | None] | None]:
    """Return the delta with those that are ready behind it, and what comes next."""
    while event.type == EventType.DELTA and len(event.data["text"]) < MOST_TEXT:
        ahead = asyncio.ensure_future(_next(events))
        try:
            for _ in range(2):
                await asyncio.sleep(0)
        except BaseException:
            await _given_up(ahead)
            raise
        coming = ahead.result() if ahead.done() else None
        if coming is None or coming.type != EventType.DELTA:
            return event, ahead
        event = _joined(event, coming)
    return event, None


async def _given_up(ahead: asyncio.Task[Event | None]) -> None:
    """Return when nobody reads ahead any more, whatever came of it: a source that is still being read cannot be closed."""
    ahead.cancel()
    await asyncio.wait([ahead])
    if not ahead.cancelled():
        ahead.exception()


def _joined(one: Event, other: Event) -> Event:
    first = one.data.get("from", one.seq)
    data = {**one.data, **other.data, "text": one.data["text"] + other.data["text"], "from": first}
    return Event(other.seq, other.type, other.at, data)


async def _next(events: AsyncIterator[Event]) -> Event | None:
    try:
        return await anext(events)
    except StopAsyncIteration:
        return None


class Meter:
    """Measures what one connection is sent."""

    def __init__(self, endpoint: str, line: Line) -> None:
        self._endpoint = endpoint
        self._line = line
        self._asked_s: dict[str, float] = {}
        self._since_s: float | None = None
        self._first_s: float | None = None
        self._delta_s: float | None = None

    def asked(self, turn_id: UUID, *, ago_s: float) -> None:
        """Note a question of this connection, which came so many seconds ago."""
        self._asked_s[str(turn_id)] = _now() - ago_s

    def saw(self, event: Event) -> None:
        """Take note of an event as it is sent."""
        if event.type == EventType.DELTA:
            self._delta()
        elif event.type == EventType.TURN_STARTED:
            self._since_s = self._asked_s.get(str(event.data.get("turn")))
            self._first_s = self._delta_s = None
        elif event.type == EventType.HEARTBEAT:
            tallies.count(HEARTBEATS, self._endpoint, self._line)
        elif event.type == EventType.RETRACTED:
            tallies.count(RETRACTIONS, self._endpoint)
        elif event.type in LAST_EVENTS:
            self._end(event)

    def _delta(self) -> None:
        now = _now()
        if self._delta_s is not None:
            tallies.observe(GAP, now - self._delta_s, self._endpoint)
        elif self._since_s is not None:
            self._first_s = now - self._since_s
            tallies.observe(FIRST_DELTA, self._first_s, self._endpoint, "whole")
        self._delta_s = now

    def _end(self, event: Event) -> None:
        """The model's own share is known when the turn has ended."""
        model_ms = event.data.get("model_first_ms")
        if self._first_s is not None and isinstance(model_ms, int):
            tallies.observe(FIRST_DELTA, model_ms / 1000, self._endpoint, "model")
            tallies.observe(FIRST_DELTA, max(0.0, self._first_s - model_ms / 1000), self._endpoint, "platform")
        self._asked_s.pop(str(event.data.get("turn")), None)
        self._since_s = self._first_s = self._delta_s = None


def _now() -> float:
    return asyncio.get_running_loop().time()
