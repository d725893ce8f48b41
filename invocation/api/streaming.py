"""One answer of Server-Sent Events, from its first byte to its last: measured, gathered for slow readers, sent away at a deploy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from django.http import StreamingHttpResponse

from invocation.domain.measures import SENT_AWAY
from invocation.domain.sessions import Line
from invocation.domain.turns import LAST_EVENTS, EventType
from invocation.gateways.streams import Event
from invocation.selectors import endpoints
from invocation.services import abandoned, tallies
from invocation.services.connections import Place
from invocation.services.passing import Meter, gathered
from quota.domain.callers import Caller

HEADERS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
COME_BACK_MS = 250
NEVER_READ_S = 10.0
"""A connection that is lost between the answer and its first byte runs no line of its generator."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a call streams: its events, of which session, and the turn that it opened, if it did."""

    events: AsyncIterator[Event]
    session_id: UUID | None = None
    asked: tuple[UUID, datetime] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class EventStream(StreamingHttpResponse):
    """An answer whose parts can be had as they are; Django would pass each through two generators of its own."""

    def __init__(self, parts: AsyncGenerator[bytes, None], *, headers: Mapping[str, str]) -> None:
        super().__init__(parts, content_type="text/event-stream; charset=utf-8", headers={**HEADERS, **headers})
        self.parts = parts


def streaming(told: Told, place: Place, caller: Caller) -> EventStream:
    """Return the answer. Its place is given up when it ends, or when nobody ever came to read it."""
    return EventStream(_Reading(told, place, caller).written(), headers=told.headers)


class _Reading:
    """One reader's way through a stream."""

    def __init__(self, told: Told, place: Place, caller: Caller) -> None:
        self._told = told
        self._place = place
        self._caller = caller
        self._meter = Meter(place.endpoint, Line.SSE)
        self._task: asyncio.Task[None] | None = None
        self._is_sent_away = False
        self._waits = False
        self._has_ended = False
        self._seq = 0
        self._never_read = asyncio.get_running_loop().call_later(NEVER_READ_S, place.leave)

    async def written(self) -> AsyncGenerator[bytes, None]:
        """Yield a comment first, so that the connection is seen to be open; then each event under its seq."""
        self._never_read.cancel()
        self._task = asyncio.current_task()
        self._place.serve(send_away=self._send_away)
        if self._told.asked is not None:
            turn_id, at = self._told.asked
            self._meter.asked(turn_id, ago_s=(datetime.now(UTC) - at).total_seconds())
        try:
            yield b": open\n\n"
            with self._interrupted():
                async with aclosing(self._told.events) as source, aclosing(gathered(source)) as each:  # type: ignore[type-var]
                    while (event := await self._next(each)) is not None:
                        self._seq = event.seq
                        self._meter.saw(event)
                        self._has_ended = event.type in LAST_EVENTS
                        yield _as_bytes(event)
            self._has_ended = not self._is_sent_away
            if self._is_sent_away:
                yield b"retry: %d\n" % COME_BACK_MS + _as_bytes(self._goodbye())
        finally:
            self._leave()

    async def _next(self, events: AsyncGenerator[Event, None]) -> Event | None:
        """Return the next event; none when there is no more, or the reader is sent away. Nowhere else is a stream interrupted."""
        if self._is_sent_away:
            return None
        self._waits = True
        try:
            return await anext(events, None)
        finally:
            self._waits = False

    @contextmanager
    def _interrupted(self) -> Iterator[None]:
        """Go on behind this where the reader is to come back elsewhere."""
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_sent_away or self._task is None:
                raise
            self._task.uncancel()

    def _send_away(self) -> None:
        """Interrupt the wait for the next event: a cancellation of ours, which `_interrupted` takes for an answer.

        While a slow reader is waited for nothing is interrupted: he hears it behind what he has not read yet.
        """
        if self._is_sent_away:
            return
        self._is_sent_away = True
        if self._waits and self._task is not None:
            self._task.cancel()

    def _goodbye(self) -> Event:
        tallies.count(SENT_AWAY, self._place.endpoint, Line.SSE)
        return Event(self._seq, str(EventType.RECONNECT), datetime.now(UTC).isoformat(), {"retry_ms": COME_BACK_MS})

    def _leave(self) -> None:
        self._place.leave()
        endpoint = endpoints.known(self._place.endpoint)
        if endpoint is not None and self._told.session_id is not None and not self._has_ended:
            abandoned.left(endpoint, self._caller.tenant_id, self._told.session_id)


def _as_bytes(event: Event) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.encode(), event.as_bytes())
