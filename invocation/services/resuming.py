"""Following a session until it rests, and a job until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from uuid import UUID

from invocation.domain.turns import LAST_EVENTS, EventType
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.link import LinkDown
from invocation.gateways.streams import Event
from invocation.models import JobEvent
from invocation.selectors.contexts import relevance_of_id
from invocation.selectors.jobs import ENDED_TYPES, events_after, has_ended
from invocation.services.following import HEARTBEAT_S, follow
from invocation.services.questions import Question

POLL_S = 0.5
WORTH_ASKING = LAST_EVENTS | {EventType.HEARTBEAT}


async def follow_to_rest(session_id: UUID, *, after: int) -> AsyncIterator[Event]:
    """Yield the session's events behind `after` and return once no turn is open and the last one's end was sent.

    Nobody knows that while PostgreSQL is away: the stream goes on, and it is asked again with each heartbeat.
    """
    question = Question(session_id)
    try:
        if not await _has_logged(session_id, after) and await _is_at_rest(question, after):
            return
        async with aclosing(follow(session_id, after=after)) as events:
            async for event in events:
                yield event
                if event.type in WORTH_ASKING and await _is_at_rest(question, event.seq):
                    return
    finally:
        question.drop()


async def follow_job(job_id: UUID, *, after: int) -> AsyncIterator[Event]:
    """Yield a job's history behind `after` up to its end, with a heartbeat in silence that carries the last seq.

    The last event says whether the job's context has moved on.
    """
    clock = asyncio.get_running_loop().time
    last, heard_at, began_at = after, clock(), clock()
    while True:
        # Asked before the events are read: what ended by now has its last event among them. In silence too: where a crash of
        # the database took an admission back that was told here, the end may stand at a place that was read already.
        is_silent = clock() - heard_at >= HEARTBEAT_S
        is_over = (last == after or is_silent) and await off_loop(has_ended, job_id)
        for row in await off_loop(events_after, job_id, last):
            last, heard_at = row.seq, clock()
            if row.type in ENDED_TYPES:
                yield await off_loop(_last, row)
                return
            yield Event(row.seq, row.type, row.at.isoformat(), row.data)
        if is_over:
            return
        if clock() - heard_at >= HEARTBEAT_S:
            heard_at = clock()
            yield Event(last, str(EventType.HEARTBEAT), datetime.now(UTC).isoformat(), {"waited_ms": round((heard_at - began_at) * 1000)})
        await asyncio.sleep(POLL_S)


async def _is_at_rest(question: Question, seq: int) -> bool:
    """An answer that came late may be to an older question: nothing was said behind a seq that we have passed meanwhile."""
    stored = await question.answer(behind=seq)
    return stored.is_at_rest and stored.behind == seq


async def _has_logged(session_id: UUID, after: int) -> bool:
    """Say whether the log holds something behind `after`: then there is no rest yet, and the database need not be asked."""
    try:
        return bool(await streams.hub().read_after(str(session_id), after, most=1))
    except LinkDown:
        return False


def _last(row: JobEvent) -> Event:
    relevance = relevance_of_id(row.job_id)
    return Event(row.seq, row.type, row.at.isoformat(), {**row.data, "relevance": relevance} if relevance else row.data)
