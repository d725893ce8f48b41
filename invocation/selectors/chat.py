"""What is read of sessions and turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce

from agents.domain.values import Exchange
from invocation.domain.errors import NotFound
from invocation.gateways.streams import Event
from invocation.models import Session, Turn

HISTORY_TOKENS = 2_000
CHARACTERS_A_TOKEN = 4


def fitting(newest_first: Sequence[Exchange]) -> list[Exchange]:
    """Return the newest exchanges that fit the token bound."""
    room = HISTORY_TOKENS * CHARACTERS_A_TOKEN
    kept: list[Exchange] = []
    for exchange in newest_first:
        room -= len(exchange.asked) + len(exchange.answered)
        if room < 0:
            break
        kept.append(exchange)
    return kept


def owned_session(tenant_id: UUID, session_id: UUID) -> Session:
    """Return the tenant's session. Raises NotFound, also for another tenant's."""
    found = Session.objects.filter(pk=session_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound(f"There is no session {session_id}.", field="session", found=str(session_id))
    return found


def sessions_of(tenant_id: UUID, filters: Mapping[str, str]) -> QuerySet[Session]:
    """Return the tenant's sessions, each with its first question as `asked`; `filters` may name an endpoint and a subject."""
    found = Session.objects.filter(tenant_id=tenant_id)
    if "endpoint" in filters:
        found = found.filter(endpoint=filters["endpoint"])
    if "subject" in filters:
        theirs = Turn.objects.filter(tenant_id=tenant_id, subject=filters["subject"])
        found = found.filter(Exists(theirs.filter(session_id=OuterRef("pk"))))
    turns = Turn.objects.filter(session_id=OuterRef("pk"))
    newest = turns.order_by("-number")
    return found.annotate(
        asked=Subquery(turns.filter(number=1).values(words=KeyTextTransform("text", "input"))[:1]),
        turn_count=Coalesce(Subquery(newest.values("number")[:1]), 0),
        asked_at=Subquery(newest.values("received_at")[:1]),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """What PostgreSQL has of a session behind a seq: the turns that ended, and how far the text of the open one is stored."""

    ended: Sequence[Turn]
    open_turn: UUID | None = None
    text: str = ""
    text_seq: int = 0

    def turn(self, event: Event) -> Turn | None:
        """Return the turn that this event ended, if it had when PostgreSQL was asked."""
        return next((turn for turn in self.ended if str(turn.pk) == event.data.get("turn")), None)


NOTHING_STORED = Stored(())


def stored_after(session_id: UUID, seq: int) -> Stored:
    """Return what is stored behind `seq`, in order."""
    found = Turn.objects.filter(Q(last_event__seq__gt=seq) | Q(finished_at__isnull=True), session_id=session_id).order_by("number")
    ended = [turn for turn in found if turn.finished_at is not None]
    still_open = next((turn for turn in found if turn.finished_at is None), None)
    return Stored(ended, still_open.pk, still_open.text, still_open.text_seq) if still_open else Stored(ended)


def turn_of(event: Event) -> Turn | None:
    """Return the turn that a last event belongs to; None if it was erased."""
    return Turn.objects.filter(pk=event.data["turn"]).first()


def has_open_turn(session_id: UUID) -> bool:
    return Turn.objects.filter(session_id=session_id, finished_at__isnull=True).exists()


def open_turn(session_id: UUID) -> Turn | None:
    return Turn.objects.filter(session_id=session_id, finished_at__isnull=True).first()


def is_asked_after(session_id: UUID, moment: datetime) -> bool:
    """Say whether the session has a turn, open or ended, that was asked for after this moment."""
    return Turn.objects.filter(session_id=session_id, received_at__gt=moment).exists()


def is_at_rest(session_id: UUID, seq: int) -> bool:
    """Say whether no turn is open and nothing was said behind `seq`."""
    session = Session.objects.only("last_seq").get(pk=session_id)
    return session.last_seq <= seq and not has_open_turn(session_id)


def turns_of(session: Session) -> list[Turn]:
    """Return the session's turns, oldest first, the newest hundred."""
    return list(reversed(session.turns.select_related("continuation").order_by("-number")[:100]))
