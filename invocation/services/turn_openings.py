"""Opening turns: what is decided about each that is asked for, and the rows of all that may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import DataError, IntegrityError, OperationalError

from invocation.domain import traces
from invocation.domain.budgets import Wish
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import InputInvalid, Saturated
from invocation.domain.ids import new_id
from invocation.domain.openings import RETRY_SATURATED, Seat, Wanted, busy, seat
from invocation.gateways import statements
from invocation.gateways.database import is_away
from invocation.selectors import canaries
from invocation.services import turn_rows
from invocation.services.submission import check_input
from quota.domain.days import UNLIMITED, DayLimits

SLOW = "Turns are opened more slowly than they are asked for: try again shortly."


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A request for a turn, before it is accepted."""

    tenant_id: UUID
    endpoint: Endpoint
    input: Mapping[str, Any]
    session_id: UUID | None = None
    new_session_id: UUID | None = None
    """The id of the session that this turn begins, where somebody listens for it already."""
    subject: str = ""
    locale: str = "en"
    metadata: Mapping[str, str] | None = None
    traceparent: str = ""
    wish: Wish = field(default_factory=Wish)
    at_once: int | None = None
    """The most turns that the tenant's plan has open at once."""
    day: DayLimits = UNLIMITED
    """What the tenant's plan allows a day: what that has no room for is refused."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An accepted turn; its events come after `after` in its session."""

    turn_id: UUID
    session_id: UUID
    after: int
    deadline: datetime


@dataclass(frozen=True, slots=True)
class _Asked:
    """An opening that may be asked for: what is decided about it, and its row but for its place in its session."""

    wanted: Wanted
    row: Mapping[str, Any]


def open_turn(opening: Opening, *, now: datetime) -> Opened:
    """Accept a turn durably. Its deadline counts from `now`, queue time included.

    Raises InputInvalid and its kin, NotFound for an unknown session, SessionBusy, and at
    once, with Retry-After, TooManyTurns, Saturated or AdmissionHeld: a chat never waits for a slot.
    """
    [answer] = open_turns([(opening, now)])
    if isinstance(answer, Exception):
        raise answer
    return answer


def open_turns(openings: Sequence[tuple[Opening, datetime]]) -> list[Opened | Exception]:
    """Accept turns that are asked for at one moment in one transaction: an answer for each in order, its turn or its refusal.

    All that is opened, by whatever process, is counted one after another: never more than there
    are live slots. One that is refused takes nothing from the others, and what breaks them all refuses each.
    """
    asked = [_asked(opening, now=now) for opening, now in openings]
    fit = [each for each in asked if isinstance(each, _Asked)]
    answers = iter(_opened(fit) if fit else [])
    return [next(answers) if isinstance(each, _Asked) else each for each in asked]


def _asked(opening: Opening, *, now: datetime) -> _Asked | Exception:
    """Check an opening by itself; what its endpoint's own estimate raises is not its neighbours'."""
    try:
        check_input(opening.endpoint, opening.input, day=opening.day)
        session_id = opening.session_id or opening.new_session_id or new_id()
        agent = canaries.agent_for(opening.endpoint, session_id)
        return _Asked(_wanted(opening, agent), _row(opening, session_id, agent, now=now))
    except Exception as refusal:
        if is_away(refusal):
            raise
        return refusal


def _opened(asked: Sequence[_Asked]) -> list[Opened | Exception]:
    """Open all that may be; where a rule of the database refuses them together, each is tried by itself."""
    try:
        return _open_together(asked)
    except (IntegrityError, DataError) as broken:  # a session that somebody opened without waiting, an input that cannot be kept
        if len(asked) > 1:
            return [answer for each in asked for answer in _opened([each])]
        return [busy(asked[0].wanted.session_id) if isinstance(broken, IntegrityError) else broken]
    except OperationalError as broken:
        if is_away(broken):
            raise
        return [Saturated(SLOW, retry_after=RETRY_SATURATED)] * len(asked)


def _open_together(asked: Sequence[_Asked]) -> list[Opened | Exception]:
    """Open in two exchanges: what there is, which whoever opens beside us waits for, and the turns that have room."""
    wanted = [each.wanted for each in asked]
    with statements.exchanges() as opening:
        room = turn_rows.alone_with_room(
            opening,
            sessions=[each.session_id for each in wanted if each.session_id is not None],
            limited=[each.tenant_id for each in wanted if each.at_once is not None],
            now=max(each.row["received_at"] for each in asked),
        )
        seats = seat(wanted, room)
        rows = [{**each.row, "number": answer.number} for each, answer in zip(asked, seats, strict=True) if isinstance(answer, Seat)]
        if rows:
            opening.end(turn_rows.insertion(rows))
    return [_answer(each, answer) for each, answer in zip(asked, seats, strict=True)]


def _answer(asked: _Asked, answer: Seat | Exception) -> Opened | Exception:
    row = asked.row
    return Opened(row["id"], row["session_id"], answer.after, row["deadline"]) if isinstance(answer, Seat) else answer


def _wanted(opening: Opening, agent: str) -> Wanted:
    return Wanted(
        tenant_id=opening.tenant_id,
        endpoint=opening.endpoint.label,
        agent=agent,
        priority_class=str(opening.endpoint.policy.priority_class),
        session_id=opening.session_id,
        at_once=opening.at_once,
    )


def _row(opening: Opening, session_id: UUID, agent: str, *, now: datetime) -> dict[str, Any]:
    endpoint, budgets = opening.endpoint, opening.endpoint.budgets.within(opening.wish)
    return {
        "id": new_id(),
        "session_id": session_id,
        "is_new": opening.session_id is None,
        "tenant_id": opening.tenant_id,
        "endpoint": endpoint.label,
        "agent": agent,
        "mode": str(endpoint.mode),
        "traceparent": opening.traceparent or traces.new(),
        "input": orjson.Fragment(_text(opening.input)),
        "locale": opening.locale,
        "subject": opening.subject,
        "metadata": dict(opening.metadata or {}),
        "latency_budget_ms": budgets.whole_ms,
        "cost_cap_usd": budgets.cost_usd,
        "token_cap": budgets.tokens,
        "call_cap": budgets.model_calls,
        "received_at": now,
        "deadline": now + budgets.whole,
        "first_delta_deadline": endpoint.speaks_by(now, budgets, grace=settings.FIRST_DELTA_GRACE),
    }


def _text(value: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as broken:
        raise InputInvalid(f"/input: it cannot be kept as JSON: {broken}.", field="/input") from None
