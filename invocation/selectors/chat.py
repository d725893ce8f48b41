"""What is read of sessions and turns."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce

from agents.domain.values import Exchange
from invocation.domain.errors import NotFound
from invocation.domain.turns import TurnState
from invocation.models import Session, Turn

HISTORY_TURNS = 20
HISTORY_TOKENS = 2_000
CHARACTERS_A_TOKEN = 4


def history(turn: Turn) -> tuple[Exchange, ...]:
    """Return the session's earlier answered turns, oldest first, the newest ones that fit the token bound."""
    if turn.number == 1:
        return ()
    earlier = Turn.objects.filter(session_id=turn.session_id, number__lt=turn.number, state=TurnState.COMPLETED)
    room = HISTORY_TOKENS * CHARACTERS_A_TOKEN
    kept: list[Exchange] = []
    for asked, text in earlier.order_by("-number").values_list("input", "text")[:HISTORY_TURNS]:
        exchange = Exchange(str(asked.get("text", "")), text)
        room -= len(exchange.asked) + len(exchange.answered)
        if room < 0:
            break
        kept.append(exchange)
    return tuple(reversed(kept))


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


def ended_after(session_id: UUID, seq: int) -> list[Turn]:
    """Return the ended turns whose last event lies after `seq`, in order."""
    return list(Turn.objects.filter(session_id=session_id, last_event__seq__gt=seq).order_by("number"))


def has_open_turn(session_id: UUID) -> bool:
    return Turn.objects.filter(session_id=session_id, finished_at__isnull=True).exists()


def is_at_rest(session_id: UUID, seq: int) -> bool:
    """Say whether no turn is open and nothing was said behind `seq`."""
    session = Session.objects.only("last_seq").get(pk=session_id)
    return session.last_seq <= seq and not has_open_turn(session_id)


def turns_of(session: Session) -> list[Turn]:
    """Return the session's turns, oldest first, the newest hundred."""
    return list(reversed(session.turns.select_related("continuation").order_by("-number")[:100]))
