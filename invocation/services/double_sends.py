"""A question while the session still answers: by the endpoint's policy it is refused, waits for the end, or takes the turn's place."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from uuid import UUID

from invocation.domain.errors import SessionBusy
from invocation.domain.openings import RETRY_BUSY
from invocation.domain.sessions import OnDoubleSend
from invocation.gateways.database import off_loop
from invocation.selectors.chat import has_open_turn, is_asked_after, open_turn
from invocation.services import cancelling, chatting
from invocation.services.chatting import Asked
from invocation.services.turn_openings import Opening

MOST_WAITING = 2
"""Questions of one session that wait in one web process; a person who sends more is refused."""
LOOK_S = 0.05

_waiting: Counter[UUID] = Counter()
_turns: dict[UUID, asyncio.Lock] = {}


async def ask(opening: Opening, *, now: datetime) -> Asked:
    """Open a turn as chatting.ask does, where a session that still answers is a matter of policy.

    The turn's budget counts from `now`, waiting included; who would not be answered within it
    is refused (SessionBusy) when that is sure.
    """
    return await _POLICIES[opening.endpoint.on_double_send](opening, now)


async def _refuse(opening: Opening, now: datetime) -> Asked:
    return await chatting.ask(opening, now=now)


async def _wait(opening: Opening, now: datetime) -> Asked:
    """Ask; while the session is busy wait in line, as long as an answer of the usual length still fits the budget."""
    if opening.session_id is None:
        return await chatting.ask(opening, now=now)
    async with _in_line(opening.session_id):
        return await _once_free(opening, now, is_busy=partial(has_open_turn, opening.session_id))


async def _replace(opening: Opening, now: datetime) -> Asked:
    """Ask; a turn that is in the way is stopped first, and its last event comes before the new turn's first.

    Of several questions that come while the session answers the latest takes the place, whichever process they
    come to; the others are refused (SessionBusy), or stopped if they are open already.
    """
    if opening.session_id is None:
        return await chatting.ask(opening, now=now)
    return await _once_free(opening, now, is_busy=partial(_stop_older, opening.session_id, now))


async def _once_free(opening: Opening, now: datetime, *, is_busy: Callable[[], bool]) -> Asked:
    """Ask again until the session is free. Raises SessionBusy once a usual answer would not fit the rest of the budget."""
    clock = asyncio.get_running_loop().time
    came = clock()
    while True:
        try:
            return await chatting.ask(opening, now=now)
        except SessionBusy:
            end = came + _spare(opening).total_seconds()
            if clock() >= end:
                raise
        await _free(is_busy, by=end)


def _spare(opening: Opening) -> timedelta:
    return opening.endpoint.budgets.whole - opening.endpoint.estimate(opening.input).duration


async def _free(is_busy: Callable[[], bool], *, by: float) -> None:
    """Return when the session has no open turn, or at that moment of the loop's clock."""
    clock = asyncio.get_running_loop().time
    while clock() < by:
        if not await off_loop(is_busy):
            return
        await asyncio.sleep(LOOK_S)


def _stop_older(session_id: UUID, now: datetime) -> bool:
    """Stop the turn that is open, and say whether it still is. Raises SessionBusy once there is one that was asked after `now`."""
    turn = open_turn(session_id)
    if turn is not None and turn.received_at <= now and turn.stop_requested_at is None:
        cancelling.stop_turn(turn.pk, now=now)
    is_busy = has_open_turn(session_id)
    if is_asked_after(session_id, now):  # asked last: a later turn may have made the session free by its own end
        raise SessionBusy(f"A later question took the place of this one in session {session_id}.", retry_after=RETRY_BUSY)
    return is_busy


@asynccontextmanager
async def _in_line(session_id: UUID) -> AsyncIterator[None]:
    """Let the questions of a session pass in the order of their coming. Raises SessionBusy when too many wait."""
    if _waiting[session_id] >= MOST_WAITING:
        raise SessionBusy(f"{MOST_WAITING} questions of session {session_id} wait already.", retry_after=timedelta(seconds=1))
    _waiting[session_id] += 1
    try:
        async with _turns.setdefault(session_id, asyncio.Lock()):
            yield
    finally:
        _waiting[session_id] -= 1
        if not _waiting[session_id]:
            del _waiting[session_id]
            _turns.pop(session_id, None)


_POLICIES: Mapping[OnDoubleSend, Callable[[Opening, datetime], Awaitable[Asked]]] = MappingProxyType(
    {OnDoubleSend.REJECT: _refuse, OnDoubleSend.ENQUEUE: _wait, OnDoubleSend.REPLACE: _replace}
)
