"""Following a session: its events in order, once each, with a heartbeat in silence and the last event always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from invocation.domain.turns import LAST_EVENTS, EventType
from invocation.gateways import streams
from invocation.gateways.link import LinkDown
from invocation.gateways.streams import PAGE, Event, Hub, Mailbox, Subscription
from invocation.models import Turn
from invocation.selectors.chat import NOTHING_STORED, Stored
from invocation.services.questions import Question

HEARTBEAT_S = 2.0
SPEAKS = LAST_EVENTS | {EventType.TURN_STARTED, EventType.DELTA}
"""What ends a silence: neither a plan nor its progress is a word of the answer."""
TICK_S = 0.01
"""How much too early a timer may be."""
MOST_SEQ = 2**63
LOG_S = 1.0
"""A store that hangs holds back no heartbeat for longer."""
SETTLED_S = 0.15
"""A worker writes an end to PostgreSQL and then, within a few frames, to the log."""
STORED_S = 0.25
"""How often PostgreSQL is asked for text that the log has lost: a worker stores what it has said once a second."""


async def listen(session_id: UUID) -> Subscription:
    """Hear a session from now on, before anything is asked in it. Raises LinkDown when the stream store is gone."""
    return await streams.hub().subscribe(str(session_id))


async def follow(session_id: UUID, *, after: int, heard: Subscription | None = None) -> AsyncGenerator[Event, None]:
    """Yield the session's events behind `after`, for ever.

    The log in Redis is read first and then followed; in two seconds of silence the log
    and PostgreSQL are asked what was missed, so that neither a lost word nor a wiped
    Redis can hide the end of a turn. Nothing that the log holds, and no heartbeat, waits for
    PostgreSQL for longer than a moment. With `heard`, a subscription that is older than
    what comes behind `after`, nothing can have been missed and nothing is read first.
    Heartbeats carry the last seq, and a gap the seq up to which it tells the text.
    """
    subscription = heard or await _subscribe(session_id)
    place = _Place(streams.hub(), session_id, after, subscription.mailbox if subscription else Mailbox())
    try:
        if heard is None:
            for event in await place.next_logged():
                yield place.passed(event)
            async for event in place.catch_up():
                yield event
        while True:
            told = await place.told()
            if place.continues(told):
                for event in told:
                    yield place.passed(event)
            else:
                async for event in place.mend():
                    yield event
    finally:
        place.close()
        if subscription is not None:
            subscription.close()


async def follow_turn(session_id: UUID, turn_id: UUID, *, after: int, heard: Subscription | None = None) -> AsyncGenerator[Event, None]:
    """Yield the events of one turn up to its last."""
    async with aclosing(follow(session_id, after=after, heard=heard)) as events:
        async for event in events:
            yield event
            if event.type in LAST_EVENTS and event.data.get("turn") == str(turn_id):
                return


class _Place:
    """How far one reader has read."""

    def __init__(self, hub: Hub, session_id: UUID, after: int, mailbox: Mailbox) -> None:
        self._hub = hub
        self._session_id = session_id
        self._mailbox = mailbox
        self._last = after
        self._question = Question(session_id, late=mailbox.miss)
        self._has_lost = False
        self._awaits_text = False
        self._unknown_end = 0
        self._clock = asyncio.get_running_loop().time
        self._silent_since = self._spoke_at = self._clock()

    async def told(self) -> list[Event]:
        """Return the new events that were told; none after a silence, where words were missed, or while lost text is waited for."""
        if self._awaits_text:
            await asyncio.sleep(STORED_S)
            return []
        while told := await self._mailbox.take(within_s=max(self._spoke_at + HEARTBEAT_S - self._clock(), TICK_S)):
            if fresh := [event for event in told if event.seq > self._last]:
                return fresh
        return []

    def continues(self, told: Sequence[Event]) -> bool:
        """Say whether these are the very next events, with nothing to mend before them."""
        is_next = bool(told) and told[0].seq == self._last + 1 and told[-1].seq == self._last + len(told)
        return is_next and not self._has_lost

    async def next_logged(self) -> list[Event]:
        """Return what the log holds from the very next event on, without asking the database: whoever comes back waits for that alone."""
        found = await self._logged(self._last)
        return found if self.continues(found) else []

    def passed(self, event: Event) -> Event:
        self._last = event.seq
        self._has_lost = self._has_lost and event.type not in LAST_EVENTS
        if event.type in SPEAKS:
            self._silent_since = self._spoke_at = self._clock()
        return event

    async def mend(self) -> AsyncGenerator[Event, None]:
        """Yield a heartbeat where nothing was said for long, what the log holds next, and then what was missed."""
        now = self._clock()
        if now - self._spoke_at >= HEARTBEAT_S - TICK_S:
            self._spoke_at = now
            yield self._passing(EventType.HEARTBEAT, {"waited_ms": round((now - self._silent_since) * 1000)})
        for event in await self.next_logged():
            yield self.passed(event)
        async for event in self.catch_up():
            yield event

    async def catch_up(self) -> AsyncGenerator[Event, None]:
        """Yield what the log holds behind our place, and from PostgreSQL the ends and the text that it does not hold.

        PostgreSQL is asked first, and knows an end a moment before the log does: only what
        the log lacks after that moment is lost.
        """
        self._awaits_text = False
        read, stored = self._last, NOTHING_STORED
        while read < MOST_SEQ and not self._awaits_text:
            stored = await self._question.answer(behind=read)
            logged = await self._logged(read)
            if stored.is_whole and not _holds_all(logged, stored.ended):
                await asyncio.sleep(SETTLED_S)
                logged = await self._logged(read)
            end = _end_of_both(stored, logged)
            async for event in self._in_order(stored, logged, end=end):
                yield event
            read = max(read, end)
        if stored.text_seq > self._last and not self._awaits_text:
            yield self._gap(stored.text, seq=stored.text_seq, turn_id=stored.open_turn)

    def close(self) -> None:
        self._question.drop()

    async def _in_order(self, stored: Stored, logged: Sequence[Event], *, end: int) -> AsyncGenerator[Event, None]:
        """Yield what is logged, the ends that are not in their places among it, up to `end` or where lost text must be waited for."""
        known = {event.seq: event for event in map(_end_of, stored.ended)} | {event.seq: event for event in logged}
        for seq in sorted(seq for seq in known if seq <= end):
            async for each in self._next(known[seq], stored):
                yield each
            if self._awaits_text:
                return

    async def _next(self, event: Event, stored: Stored) -> AsyncGenerator[Event, None]:
        """Yield an event; where a part before it was lost, the stored text instead of words out of their place.

        Seqs grow by one; only an attempt begins further on. The text comes with the turn's end if
        it has ended, and as far as its worker has stored it if it has not: that is waited for, as PostgreSQL is.
        """
        if event.seq <= self._last:
            return
        self._has_lost = self._has_lost or (event.seq != self._last + 1 and event.type != EventType.TURN_STARTED)
        if not self._has_lost or event.type == EventType.TURN_STARTED:
            yield self.passed(event)
        elif event.type in LAST_EVENTS:
            turn = stored.turn(event)
            if turn is None and not self._is_erased(event, stored):
                self._awaits_text = True
                return
            if turn is not None and turn.text:
                yield self._gap("" if turn.retracted else turn.text, turn_id=turn.pk)
            yield self.passed(event)
        elif any(end.seq > event.seq for end in map(_end_of, stored.ended)):
            if event.type != EventType.DELTA:
                yield self.passed(event)
        elif stored.text_seq >= event.seq - 1:
            yield self._gap(stored.text, seq=stored.text_seq, turn_id=stored.open_turn)
            if event.seq > self._last:
                yield self.passed(event)
        else:
            self._awaits_text = True

    def _is_erased(self, event: Event, stored: Stored) -> bool:
        """Say whether the turn of an end that PostgreSQL did not know is no more; one that ended since is known at the next question."""
        if stored is NOTHING_STORED:
            return False
        was_asked, self._unknown_end = self._unknown_end == event.seq, event.seq
        return was_asked

    async def _logged(self, after: int) -> list[Event]:
        """Without the store, or while it hangs, PostgreSQL alone is told."""
        try:
            async with asyncio.timeout(LOG_S):
                return await self._hub.read_after(str(self._session_id), after)
        except (LinkDown, TimeoutError):
            return []

    def _gap(self, text: str, *, turn_id: UUID | None, seq: int | None = None) -> Event:
        """Tell the stored text in place of what was lost: up to `seq`, or, before a turn's end, all of it."""
        if seq is not None:
            self._last, self._has_lost = seq, False
        self._silent_since = self._spoke_at = self._clock()
        return self._passing(EventType.GAP, {"turn": str(turn_id), "text": text})

    def _passing(self, kind: EventType, data: Mapping[str, Any]) -> Event:
        return Event(self._last, str(kind), datetime.now(UTC).isoformat(), dict(data))


def _end_of(turn: Turn) -> Event:
    return Event(**(turn.last_event or {}))


def _end_of_both(stored: Stored, logged: Sequence[Event]) -> int:
    """Return the seq up to which both are known: either may have been read in part."""
    of_log = logged[-1].seq if len(logged) == PAGE else MOST_SEQ
    return min(of_log, MOST_SEQ if stored.is_whole else _end_of(stored.ended[-1]).seq)


def _holds_all(logged: Sequence[Event], ended: Sequence[Turn]) -> bool:
    """Say whether every end is logged, or lies behind what was read at once."""
    seqs = {event.seq for event in logged}
    return len(logged) == PAGE or all(_end_of(turn).seq in seqs for turn in ended)


async def _subscribe(session_id: UUID) -> Subscription | None:
    """Without Redis a reader still gets each turn's end, from PostgreSQL."""
    try:
        return await listen(session_id)
    except LinkDown:
        return None
