"""Asking in a chat, for the connections that carry one: turns opened together, and a worker woken for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary

from invocation.domain.errors import StaleMove, StreamUnavailable
from invocation.domain.ids import new_id
from invocation.gateways import dispatch
from invocation.gateways.dispatch import BrokerGone
from invocation.gateways.grouping import Grouper
from invocation.gateways.link import LinkDown
from invocation.gateways.streams import Subscription
from invocation.services import abandoned, cancelling, turn_openings
from invocation.services.following import listen
from invocation.services.turn_openings import Opened, Opening

RETRY_STREAM = timedelta(seconds=2)
TOGETHER = 32
"""The most turns that are opened in one transaction and sent in one message."""
APART_S = 0.005
"""Who asks so soon after another waits as long for company: a transaction and a message cost more than a few words."""


@dataclass(frozen=True, slots=True)
class Asked(Opened):
    """An accepted turn, and a subscription that is older than its first event."""

    heard: Subscription


async def ask(opening: Opening, *, now: datetime) -> Asked:
    """Open a turn and wake a p0 worker for it: with all others of this process that wait at this moment, or at once if it is alone.

    Raises what open_turn raises, and StreamUnavailable when the stream store or the broker is
    gone: then no turn stays open. Whoever is cancelled meanwhile has left the turn that is opened for him all the same.
    """
    new_session_id = new_id()
    try:
        heard = await listen(opening.session_id or new_session_id)
    except LinkDown:
        raise _out_of_service("The stream store") from None
    try:
        answer = await _opened(replace(opening, new_session_id=new_session_id), now)
    except BaseException:
        heard.close()
        raise
    return Asked(answer.turn_id, answer.session_id, answer.after, answer.deadline, heard)


async def _opened(opening: Opening, now: datetime) -> Opened:
    answer = await _desk().do((opening, now))
    if isinstance(answer, Exception):
        raise answer
    return answer


_desks: WeakKeyDictionary[asyncio.AbstractEventLoop, Grouper[tuple[Opening, datetime], Opened | Exception]] = WeakKeyDictionary()


def _desk() -> Grouper[tuple[Opening, datetime], Opened | Exception]:
    """Return where this loop's turns wait for one another while others are being opened."""
    loop = asyncio.get_running_loop()
    if loop not in _desks:
        _desks[loop] = Grouper(open_and_wake, most=TOGETHER, apart_s=APART_S, unheard=_left)
    return _desks[loop]


def _left(asked: tuple[Opening, datetime], answer: Opened | Exception) -> None:
    opening, _ = asked
    if isinstance(answer, Opened):
        abandoned.left(opening.endpoint, opening.tenant_id, answer.session_id)


def open_and_wake(openings: Sequence[tuple[Opening, datetime]]) -> list[Opened | Exception]:
    """Open all in one transaction and send them in one message; a broker that is gone leaves none of them open.

    One that failed after it had the message may have told a worker: what that has taken goes on.
    """
    answers = turn_openings.open_turns(openings)
    opened = [answer for answer in answers if isinstance(answer, Opened)]
    if not opened:
        return answers
    left_s = (max(each.deadline for each in opened) - datetime.now(UTC)).total_seconds()
    try:
        if left_s > 0:  # whoever is late by now is ended by the sweep
            dispatch.wake_turns([each.turn_id for each in opened], within_s=left_s)
    except BrokerGone:
        return [_unsent(answer) if isinstance(answer, Opened) else answer for answer in answers]
    return answers


def _unsent(opened: Opened) -> Opened | StreamUnavailable:
    """Withdraw a turn whose message was not sent, as far as is known; one that somebody has taken is open."""
    refusal = _out_of_service("The broker")
    try:
        cancelling.withdraw(opened.turn_id, code=refusal.code, sentence=refusal.detail)
    except StaleMove:
        return opened
    return refusal


def _out_of_service(what: str) -> StreamUnavailable:
    return StreamUnavailable(f"{what} cannot be reached. Nothing was started.", retry_after=RETRY_STREAM)
