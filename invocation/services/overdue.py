"""Ending turns whose worker did not: past the deadline every turn gets its last event, whoever died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from invocation.domain.turns import OPEN, EventType, TurnMove
from invocation.gateways import declared, streams
from invocation.models import Session, Turn
from invocation.services import turns
from invocation.services.turns import Ending, escape_of, failure_event

GRACE = timedelta(milliseconds=750)
"""A living worker ends its turn at the deadline; only then is it ended for it."""


def end_overdue_turns(*, now: datetime, most: int = 200) -> int:
    """End the open turns whose deadline is past; their readers find the end in PostgreSQL."""
    late = Turn.objects.filter(state__in=OPEN, deadline__lt=now - GRACE).order_by("deadline")[:most]
    return sum(turns.end_from_outside(turn, _ending(turn, now=now), now=now) for turn in late)


def _ending(turn: Turn, *, now: datetime) -> Ending:
    """What was shown stays, marked truncated; it is read from the log, or, where that was lost, as far as it was stored."""
    shown = streams.shown_text(str(turn.session_id), str(turn.pk)) or turn.text
    seq = Session.objects.values_list("reserved_seq", flat=True).get(pk=turn.session_id) + 1
    endpoint = declared.book().by_label.get(turn.endpoint)  # in a deploy, one of the others may declare it
    sentence = f"The answer was not finished within {turn.latency_budget_ms} ms."
    told = failure_event(
        code="latency_budget_exceeded",
        sentence=sentence,
        remedy="Ask something shorter, or continue as the job that is offered.",
        truncated=bool(shown),
        escape=escape_of(endpoint) if endpoint else None,
    )
    event = {"seq": seq, "type": str(EventType.TURN_FAILED), "at": datetime.now(UTC).isoformat(), "data": {"turn": str(turn.pk), **told}}
    error = {"code": told["code"], "sentence": sentence}
    return Ending(move=TurnMove.OVERDUE, event=event, text=shown, error=error, truncated=bool(shown), last_seq=seq)
