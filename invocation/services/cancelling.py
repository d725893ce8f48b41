"""Stopping what runs: a durable mark first, then a word to whichever process holds it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from invocation.domain.errors import StaleMove
from invocation.domain.turns import ENDED, EventType, TurnMove, TurnState
from invocation.gateways.presence import say_stop
from invocation.models import Session, Turn
from invocation.selectors.chat import owned_session
from invocation.services import turns
from invocation.services.turns import Ending, failure_event


def stop_turn(turn_id: UUID, *, now: datetime) -> None:
    """End a queued turn at once, ask the worker of a running one to stop. Called again, or too late, it changes nothing."""
    with transaction.atomic():
        turn = Turn.objects.select_for_update(no_key=True).get(pk=turn_id)
        if turn.state == TurnState.QUEUED:
            turns.end_from_outside(turn, _cancelled(turn, now=now), now=now)
        elif turn.state not in ENDED:
            Turn.objects.filter(pk=turn_id).update(stop_requested_at=now)
            say_stop(turn_id)


def stop_open_turn(tenant_id: UUID, session_id: UUID, *, now: datetime) -> Turn:
    """Stop the session's open turn and return it. Raises NotFound, and StaleMove if none is open."""
    session = owned_session(tenant_id, session_id)
    turn = session.turns.filter(finished_at__isnull=True).first()
    if turn is None:
        raise StaleMove(f"No turn of session {session_id} is open.")
    stop_turn(turn.pk, now=now)
    turn.refresh_from_db()
    return turn


def stopping_turns(owner: UUID) -> list[str]:
    """Return the turns of this process that somebody asked to stop."""
    asked = Turn.objects.filter(owner=owner, stop_requested_at__isnull=False).values_list("id", flat=True)
    return [str(turn_id) for turn_id in asked]


def withdraw(turn_id: UUID, *, code: str, sentence: str) -> None:
    """End a turn that could not be sent to a worker. Raises StaleMove if one has it all the same."""
    now = datetime.now(UTC)
    turn = Turn.objects.get(pk=turn_id)
    is_waiting = turn.state == TurnState.QUEUED  # a claim that comes between is another attempt
    if not (is_waiting and turns.end_from_outside(turn, _told(turn, code, sentence, TurnMove.OVERDUE, now=now), now=now)):
        raise StaleMove(f"Turn {turn_id} does not wait for a worker any more.")


def _cancelled(turn: Turn, *, now: datetime) -> Ending:
    return _told(turn, "cancelled", "The turn was stopped before it began.", TurnMove.CANCEL, now=now)


def _told(turn: Turn, code: str, sentence: str, move: TurnMove, *, now: datetime) -> Ending:
    seq = Session.objects.values_list("reserved_seq", flat=True).get(pk=turn.session_id) + 1
    told: dict[str, Any] = failure_event(code=code, sentence=sentence, remedy="Ask again.", truncated=False, escape=None)
    event = {"seq": seq, "type": str(EventType.TURN_FAILED), "at": now.isoformat(), "data": {"turn": str(turn.pk), **told}}
    return Ending(move=move, event=event, text="", error={"code": code, "sentence": sentence}, last_seq=seq)
