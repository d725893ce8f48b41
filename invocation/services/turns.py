"""Chat turns in the database: open, claim, finish; the one writer of a turn's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import DataError, IntegrityError, OperationalError, transaction

from agents.domain.values import Exchange
from invocation.domain import traces
from invocation.domain.budgets import Wish
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import InputInvalid, Saturated, StaleMove
from invocation.domain.ids import new_id
from invocation.domain.openings import RETRY_SATURATED, Seat, Wanted, busy, seat
from invocation.domain.turns import ENDED, TURN_EDGES, TurnMove
from invocation.gateways.database import is_away
from invocation.models import Process, Session, Turn
from invocation.selectors import canaries
from invocation.selectors.chat import fitting
from invocation.services import records, turn_rows
from invocation.services.records import Finished
from invocation.services.submission import check_input
from quota.domain.days import UNLIMITED, DayLimits
from quota.domain.ledger import LedgerLine
from quota.services import ledger

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
class TurnClaimed:
    """A turn that this process holds, the session's earlier exchanges and the seq after which its events begin."""

    turn: Turn
    history: tuple[Exchange, ...]
    base: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a turn ended: the state's move, its last event and what of the answer was shown."""

    move: TurnMove
    event: Mapping[str, Any]
    text: str
    output: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    truncated: bool = False
    retracted: bool = False
    last_seq: int


@dataclass(frozen=True, slots=True)
class Finish:
    """What one attempt came to, to be stored together with others."""

    turn: Turn
    ending: Ending
    run: Finished | None


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


@transaction.atomic
def _open_together(asked: Sequence[_Asked]) -> list[Opened | Exception]:
    turn_rows.lock_openings()
    wanted = [each.wanted for each in asked]
    room = turn_rows.room(
        sessions=[each.session_id for each in wanted if each.session_id is not None],
        limited=[each.tenant_id for each in wanted if each.at_once is not None],
        now=max(each.row["received_at"] for each in asked),
    )
    answers: list[Opened | Exception] = []
    rows: list[Mapping[str, Any]] = []
    for each, answer in zip(asked, seat(wanted, room), strict=True):
        if not isinstance(answer, Seat):
            answers.append(answer)
            continue
        rows.append({**each.row, "number": answer.number})
        answers.append(Opened(each.row["id"], each.row["session_id"], answer.after, each.row["deadline"]))
    if rows:
        turn_rows.insert(rows)
    return answers


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


def claim(turn_ids: Sequence[UUID], *, owner: UUID) -> Sequence[TurnClaimed | None]:
    """Take these turns for a process; None for one that came twice, too late, or was cancelled."""
    taken = turn_rows.claim(turn_ids, owner=owner, now=datetime.now(UTC))
    earlier = turn_rows.histories([each.turn for each in taken.values()])
    found = [taken.pop(turn_id, None) for turn_id in turn_ids]
    return [TurnClaimed(each.turn, _history(earlier.get(each.turn.session_id, ())), each.base) if each else None for each in found]


def _history(newest_first: Sequence[Exchange]) -> tuple[Exchange, ...]:
    return tuple(reversed(fitting(newest_first)))


def finish(turn: Turn, ending: Ending, run: Finished | None) -> None:
    """End a turn that this attempt holds, with its last event. Raises StaleMove, and then nothing is kept."""
    [broken] = finish_all([Finish(turn, ending, run)])
    if broken is not None:
        raise broken


def finish_all(finishes: Sequence[Finish]) -> list[Exception | None]:
    """End turns of this process in one transaction, with what their runs left; StaleMove for one that this attempt does not hold.

    What the database cannot keep of one is its own error, not its neighbours'.
    """
    try:
        return _finish_together(finishes)
    except (DataError, IntegrityError) as broken:
        return [broken] if len(finishes) == 1 else [answer for each in finishes for answer in finish_all([each])]


def _finish_together(finishes: Sequence[Finish]) -> list[Exception | None]:
    now = datetime.now(UTC)
    with transaction.atomic():
        ended = turn_rows.finish([_ended(each) for each in finishes], now=now)
        runs = [each.run for each in finishes if each.run is not None and each.turn.pk in ended]
        records.write(runs, now=now)
        ledger.append([line for run in runs for line in run.lines])
    return [None if each.turn.pk in ended else StaleMove(f"Turn {each.turn.pk} was ended by another attempt.") for each in finishes]


def _ended(finish: Finish) -> dict[str, Any]:
    turn, ending = finish.turn, finish.ending
    edge = TURN_EDGES[ending.move]
    return {
        "id": turn.pk,
        "attempt": turn.attempt,
        "owner": turn.owner,
        "target": str(edge.target),
        "sources": sorted(edge.sources),
        "text": ending.text,
        "text_seq": ending.last_seq,
        "output": ending.output,
        "error": ending.error,
        "truncated": ending.truncated,
        "retracted": ending.retracted,
        "last_event": ending.event,
        "last_seq": ending.last_seq,
    }


def book_late(turn: Turn, lines: Sequence[LedgerLine]) -> None:
    """Book what the turn's calls cost though somebody else ended it; not once another attempt has taken it."""
    with transaction.atomic():
        if Turn.objects.select_for_update().filter(pk=turn.pk, attempt=turn.attempt, state__in=ENDED).exists():
            ledger.append(lines)


def end_from_outside(turn: Turn, ending: Ending, *, now: datetime) -> bool:
    """End a turn without its worker's word (stopped, overdue, never sent); False if someone else ended it first."""
    try:
        with transaction.atomic():
            _end(turn, ending, now=now, right={"attempt": turn.attempt})
    except StaleMove:
        return False
    return True


def requeue_orphans(*, now: datetime) -> list[UUID]:
    """Queue turns again whose worker died, if there is time left; the next attempt begins from the plan."""
    edge = TURN_EDGES[TurnMove.RESCUE]
    alive = Process.objects.filter(lease_until__gt=now).values("id")
    orphans = Turn.objects.filter(state__in=edge.sources, deadline__gt=now).exclude(owner__in=alive)
    found = list(orphans.values_list("id", "attempt"))
    return [turn_id for turn_id, attempt in found if orphans.filter(pk=turn_id, attempt=attempt).update(state=edge.target, owner=None)]


def _end(turn: Turn, ending: Ending, *, now: datetime, right: Mapping[str, Any]) -> None:
    edge = TURN_EDGES[ending.move]
    moved = Turn.objects.filter(pk=turn.pk, state__in=edge.sources, **right).update(
        state=edge.target,
        text=ending.text,
        text_seq=ending.last_seq,
        output=ending.output,
        error=ending.error,
        truncated=ending.truncated,
        retracted=ending.retracted,
        last_event=dict(ending.event),
        owner=None,
        finished_at=now,
    )
    if not moved:
        raise StaleMove(f"Turn {turn.pk} was ended by another attempt.")
    Session.objects.filter(pk=turn.session_id).update(last_seq=ending.last_seq, reserved_seq=ending.last_seq)


def failure_event(*, code: str, sentence: str, remedy: str, truncated: bool, escape: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the data of `turn.failed`: a typed error, whether text stays truncated, and the endpoint's escape hatch."""
    return {"code": code, "sentence": sentence, "remedy": remedy, "truncated": truncated, "escape": escape}
