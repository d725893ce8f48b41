"""What is read of sessions and turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, FilteredRelation, OuterRef, Q, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce

from agents.domain.values import Exchange
from invocation.domain.errors import NotFound
from invocation.domain.turns import OPEN
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


STORED_PAGE = 50
"""Ended turns that are read at once: an old session has thousands, and whoever reads it from its first event is to hold few of them."""
TOLD_OF_ENDED = ("session_id", "number", "text", "retracted", "last_event")


@dataclass(frozen=True, slots=True)
class Stored:
    """What PostgreSQL has of a session behind a seq: the next turns that ended, and how far the text of the open one is stored."""

    ended: Sequence[Turn]
    open_turn: UUID | None = None
    text: str = ""
    text_seq: int = 0
    behind: int = 0
    is_at_rest: bool = False
    """No turn is open, and nothing was said behind the seq."""

    @property
    def is_whole(self) -> bool:
        """Whether no more turns ended than these."""
        return len(self.ended) < STORED_PAGE

    def turn(self, event: Event) -> Turn | None:
        """Return the turn that this event ended, if it had when PostgreSQL was asked."""
        return next((turn for turn in self.ended if str(turn.pk) == event.data.get("turn")), None)


NOTHING_STORED = Stored(())


def stored_of(asked: Sequence[tuple[UUID, int]]) -> list[Stored]:
    """Return what is stored of each session behind a seq; all those of which nothing is cost one query together."""
    heads = _heads({session_id for session_id, _ in asked})
    return [_stored(heads.get(session_id) or _Head(session_id), seq) for session_id, seq in asked]


@dataclass(frozen=True, slots=True)
class _Head:
    """How far a session is, read at one moment; nowhere if it was erased."""

    session_id: UUID
    last_seq: int = 0
    open_turn: UUID | None = None
    text_seq: int | None = None

    def has_more_than(self, seq: int) -> bool:
        return max(self.last_seq, self.text_seq or 0) > seq


def _heads(session_ids: set[UUID]) -> dict[UUID, _Head]:
    under_way = FilteredRelation("turns", condition=Q(turns__state__in=OPEN))
    found = Session.objects.filter(pk__in=session_ids).annotate(under_way=under_way)
    heads = [_Head(*row) for row in found.values_list("pk", "last_seq", "under_way__pk", "under_way__text_seq")]
    return {head.session_id: head for head in heads}


def _stored(head: _Head, seq: int) -> Stored:
    """Read the open turn first: one that ends meanwhile is then found twice, and not never."""
    if not head.has_more_than(seq):
        return Stored((), head.open_turn, behind=seq, is_at_rest=head.open_turn is None)
    turns = Turn.objects.filter(session_id=head.session_id)
    still_open = turns.only("text", "text_seq").filter(state__in=OPEN).first()
    ended = list(turns.filter(last_event__seq__gt=seq).only(*TOLD_OF_ENDED).order_by("number")[:STORED_PAGE])
    found = Stored(ended, behind=seq)
    return replace(found, open_turn=still_open.pk, text=still_open.text, text_seq=still_open.text_seq) if still_open else found


def has_open_turn(session_id: UUID) -> bool:
    return Turn.objects.filter(session_id=session_id, finished_at__isnull=True).exists()


def open_turn(session_id: UUID) -> Turn | None:
    return Turn.objects.filter(session_id=session_id, finished_at__isnull=True).first()


def is_asked_after(session_id: UUID, moment: datetime) -> bool:
    """Say whether the session has a turn, open or ended, that was asked for after this moment."""
    return Turn.objects.filter(session_id=session_id, received_at__gt=moment).exists()


def turns_of(session: Session) -> list[Turn]:
    """Return the session's turns, oldest first, the newest hundred."""
    return list(reversed(session.turns.select_related("continuation").order_by("-number")[:100]))
