"""Chat turns in the database: open, claim, finish; the one writer of a turn's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest
from uuid6 import uuid7

from agents.domain.values import Exchange
from invocation.domain import traces
from invocation.domain.budgets import Wish
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import AdmissionHeld, NotFound, Saturated, SessionBusy, StaleMove, TooManyTurns
from invocation.domain.turns import ENDED, SEQS_OF_A_CLAIM, TURN_EDGES, TurnMove, TurnState
from invocation.models import Process, Session, Turn
from invocation.selectors import admission as seen
from invocation.selectors import canaries
from invocation.selectors.chat import history
from invocation.services import records
from invocation.services.records import Finished
from invocation.services.submission import check_input
from quota.domain.ledger import LedgerLine
from quota.services import ledger, plans

RETRY_SATURATED = timedelta(seconds=2)
RETRY_HELD = timedelta(seconds=30)
TURNS_OF_A_TENANT = 0x7E4A
"""The class of the advisory locks under which a tenant's turns are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A request for a turn, before it is accepted."""

    tenant_id: UUID
    endpoint: Endpoint
    input: Mapping[str, Any]
    session_id: UUID | None = None
    subject: str = ""
    locale: str = "en"
    metadata: Mapping[str, str] | None = None
    traceparent: str = ""
    wish: Wish = field(default_factory=Wish)
    at_once: int | None = None
    """The most turns that the tenant's plan has open at once."""


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


def open_turn(opening: Opening, *, now: datetime) -> Opened:
    """Accept a turn durably. Its deadline counts from `now`, queue time included.

    Raises InputInvalid and its kin, NotFound for an unknown session, SessionBusy, and at
    once, with Retry-After, TooManyTurns, Saturated or AdmissionHeld: a chat never waits for a slot.
    """
    check_input(opening.endpoint, opening.input, day=plans.day_limits_now(opening.tenant_id))
    session_id = opening.session_id or uuid7()
    agent = canaries.agent_for(opening.endpoint, session_id)
    _must_be_free(opening, agent, now=now)
    try:
        with transaction.atomic():
            _must_fit_plan(opening)
            session = _session(opening, session_id, now=now)
            turn = _insert(opening, session, agent, now=now)
    except IntegrityError:
        raise SessionBusy(
            f"Session {opening.session_id} still answers: wait for its last turn.", retry_after=timedelta(seconds=1)
        ) from None
    return Opened(turn.id, session.id, session.reserved_seq, turn.deadline)


def _must_be_free(opening: Opening, agent: str, *, now: datetime) -> None:
    endpoint = opening.endpoint
    priority_class = str(endpoint.policy.priority_class)
    hold = seen.hold_on(endpoint=endpoint.label, agent=agent, tenant_id=opening.tenant_id, priority_class=priority_class)
    if hold is not None:
        raise AdmissionHeld(f"Admission is held for {hold}: {hold.reason}", retry_after=RETRY_HELD)
    slots = seen.live_slots(now=now)[priority_class]
    if seen.open_turns() >= slots:
        raise Saturated(f"All {slots} chat slots are taken: try again shortly.", retry_after=RETRY_SATURATED)


def _must_fit_plan(opening: Opening) -> None:
    """Refuse what the tenant's plan does not have open at once; its turns are counted one opening after another."""
    if opening.at_once is None:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [TURNS_OF_A_TENANT, opening.tenant_id.int & 0x7FFFFFFF])
    found = seen.open_turns_of(opening.tenant_id)
    if found >= opening.at_once:
        raise TooManyTurns(
            f"{found} turns of this tenant are open; its plan allows {opening.at_once} at once.",
            retry_after=RETRY_SATURATED,
            limit=opening.at_once,
            used=found,
        )


def _session(opening: Opening, session_id: UUID, *, now: datetime) -> Session:
    if opening.session_id is None:
        return Session.objects.create(id=session_id, tenant_id=opening.tenant_id, endpoint=opening.endpoint.label, created_at=now)
    found = Session.objects.select_for_update().filter(pk=opening.session_id, tenant_id=opening.tenant_id).first()
    if found is None:
        raise NotFound(f"There is no session {opening.session_id}: leave it out to begin a new one.", field="session")
    return found


def _insert(opening: Opening, session: Session, agent: str, *, now: datetime) -> Turn:
    endpoint, budgets = opening.endpoint, opening.endpoint.budgets.within(opening.wish)
    return Turn.objects.create(
        session=session,
        number=session.turns.count() + 1,
        tenant_id=opening.tenant_id,
        endpoint=endpoint.label,
        agent=agent,
        mode=str(endpoint.mode),
        traceparent=opening.traceparent or traces.new(),
        state=TurnState.QUEUED,
        input=dict(opening.input),
        locale=opening.locale,
        subject=opening.subject,
        metadata=dict(opening.metadata or {}),
        latency_budget_ms=budgets.whole_ms,
        cost_cap_usd=budgets.cost_usd,
        token_cap=budgets.tokens,
        call_cap=budgets.model_calls,
        received_at=now,
        deadline=now + budgets.whole,
        first_delta_deadline=endpoint.speaks_by(now, budgets, grace=settings.FIRST_DELTA_GRACE),
    )


def claim(turn_ids: Sequence[UUID], *, owner: UUID) -> Sequence[TurnClaimed | None]:
    """Take these turns for a process; None for one that came twice, too late, or was cancelled."""
    with transaction.atomic():
        taken = [turn_id for turn_id in turn_ids if _claim_one(turn_id, owner)]
        turns = Turn.objects.select_related("session").in_bulk(taken)
        bases = {turn_id: _reserve_seqs(turns[turn_id].session_id) for turn_id in taken}
    found = [turns.pop(turn_id, None) for turn_id in turn_ids]
    return [TurnClaimed(turn, history(turn), bases[turn.pk]) if turn else None for turn in found]


def _claim_one(turn_id: UUID, owner: UUID) -> bool:
    edge = TURN_EDGES[TurnMove.CLAIM]
    now = datetime.now(UTC)
    open_turns = Turn.objects.filter(pk=turn_id, state__in=edge.sources, deadline__gt=now)
    return bool(open_turns.update(state=edge.target, attempt=F("attempt") + 1, owner=owner, started_at=now))


def _reserve_seqs(session_id: UUID) -> int:
    """Set seqs aside from behind all that any attempt can have used, so that a wiped Redis cannot make seq go back."""
    base = Greatest("last_seq", "reserved_seq")
    Session.objects.filter(pk=session_id).update(last_seq=base, reserved_seq=base + SEQS_OF_A_CLAIM)
    return Session.objects.values_list("last_seq", flat=True).get(pk=session_id)


def finish(turn: Turn, ending: Ending, run: Finished | None) -> None:
    """End a turn that this attempt holds, with its last event. Raises StaleMove, and then nothing is kept."""
    now = datetime.now(UTC)
    with transaction.atomic():
        _end(turn, ending, now=now, right={"attempt": turn.attempt, "owner": turn.owner})
        if run is not None:
            records.write([run], now=now)
            ledger.append(run.lines)


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
