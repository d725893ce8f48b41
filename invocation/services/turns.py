"""Chat turns in the database: claim, finish, end from outside; the one writer of the state of a turn that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from agents.domain.values import Exchange
from invocation.domain.errors import StaleMove
from invocation.domain.turns import ENDED, TURN_EDGES, TurnMove
from invocation.gateways.database import is_away
from invocation.models import Process, Session, Turn
from invocation.selectors.chat import fitting
from invocation.services import records, turn_rows
from invocation.services.records import Finished
from quota.domain.ledger import LedgerLine
from quota.services import ledger


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

    What cannot be kept of one is its own error, not its neighbours'. Raises what says that the database is away.
    """
    try:
        return _finish_together(finishes)
    except Exception as broken:
        if is_away(broken):
            raise
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
        if Turn.objects.select_for_update(no_key=True).filter(pk=turn.pk, attempt=turn.attempt, state__in=ENDED).exists():
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


def put_back(turn: Turn) -> None:
    """Queue a turn again that this attempt holds, for another process to take. Raises StaleMove."""
    edge = TURN_EDGES[TurnMove.RESCUE]
    held = Turn.objects.filter(pk=turn.pk, attempt=turn.attempt, owner=turn.owner, state__in=edge.sources)
    if not held.update(state=edge.target, owner=None):
        raise StaleMove(f"Turn {turn.pk} is held by another attempt.")


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
