"""Ending turns whose worker did not: past its deadline every turn gets its last event, whoever died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
from django.db.models import Q

from agents.domain.storable import storable
from invocation.domain.turn_errors import escape_after
from invocation.domain.turns import OPEN, EventType, TurnMove, TurnState
from invocation.gateways import declared
from invocation.gateways.database import is_away
from invocation.gateways.shown_texts import ShownTexts
from invocation.models import Session, Turn
from invocation.services import turns
from invocation.services.turn_limits import TurnLimits
from invocation.services.turns import Ending, failure_event

log = structlog.get_logger()
GRACE = timedelta(milliseconds=750)
"""A living worker ends its turn at the deadline; only then is it ended for it."""


def end_overdue_turns(*, now: datetime, most: int = 200) -> int:
    """End the open turns that are past their deadline, or wait for a worker past that of their first words.

    Their readers find the end in PostgreSQL.
    """
    past = now - GRACE
    is_late = Q(deadline__lt=past) | Q(state=TurnState.QUEUED, first_delta_deadline__lt=past)
    late = Turn.objects.filter(is_late, state__in=OPEN).order_by("deadline")[:most]
    with ShownTexts() as shown:
        return sum(_is_ended(turn, shown, now=now) for turn in late)


def _is_ended(turn: Turn, shown: ShownTexts, *, now: datetime) -> bool:
    """End it, and say whether it was for this to do; one that cannot be ended keeps no other from its end."""
    try:
        return turns.end_from_outside(turn, _ending(turn, _text(turn, shown), now=now), now=now)
    except Exception as broken:
        if is_away(broken):
            raise
        log.exception("overdue_turn_not_ended", turn_id=str(turn.pk))
        return False


def _text(turn: Turn, shown: ShownTexts) -> str:
    """Return what was shown of it: by the log, or, where that was lost, as far as it was stored. What nobody took has shown nothing."""
    found = shown.of(str(turn.session_id), str(turn.pk)) if turn.attempt else ""
    return storable(found) or turn.text


def _ending(turn: Turn, shown: str, *, now: datetime) -> Ending:
    """What was shown stays, marked truncated."""
    seq = Session.objects.values_list("reserved_seq", flat=True).get(pk=turn.session_id) + 1
    endpoint = declared.book().by_label.get(turn.endpoint)  # in a deploy, one of the others may declare it
    error = TurnLimits(turn).exceeded(now=now)
    told = failure_event(
        code=error.code,
        sentence=error.sentence,
        remedy=error.remedy,
        truncated=bool(shown),
        escape=escape_after(error, endpoint.escape if endpoint else None),
    )
    data = {"turn": str(turn.pk), **told, **error.facts}
    event = {"seq": seq, "type": str(EventType.TURN_FAILED), "at": datetime.now(UTC).isoformat(), "data": data}
    fault = {"code": error.code, "sentence": error.sentence}
    return Ending(move=TurnMove.OVERDUE, event=event, text=shown, error=fault, truncated=bool(shown), last_seq=seq)
