"""Sessions and turns in the admin: what was asked and answered, how it ended, and how long it took."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, F, Max, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.admin import cells, filters
from invocation.admin.jobs import run_rows
from invocation.admin.on_record import TenantsRecord
from invocation.domain.masking import masked_text
from invocation.domain.turns import TurnState
from invocation.models import RunRecord, Session, Turn

MOST_TURNS = 100


@admin.register(Session)
class SessionAdmin(TenantsRecord):
    page_template = "admin/invocation/session.html"
    list_display = ("key", "endpoint", "tenant", "turn_count", "last_seq", "begun", "last_asked")
    list_filter = (filters.Endpoint, filters.Tenant)
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        turns = Turn.objects.filter(session_id=OuterRef("pk")).order_by().values("session_id")
        counted = Subquery(turns.annotate(many=Count("pk")).values("many"))
        newest = Subquery(turns.annotate(newest=Max("received_at")).values("newest"))
        found: QuerySet[Session] = super().get_queryset(request).annotate(many=counted, newest=newest)
        return found

    @admin.display(description="turns")
    def turn_count(self, row: Any) -> int:
        return row.many or 0

    @admin.display(description="begun")
    def begun(self, row: Session) -> SafeString | str:
        return cells.ago(row.created_at)

    @admin.display(description="last asked")
    def last_asked(self, row: Any) -> SafeString | str:
        return cells.ago(row.newest)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        turns = list(_timed(Turn.objects.filter(session=row).order_by("-number")[:MOST_TURNS]))
        return {"turns": [_told(turn) for turn in reversed(turns)]}


@admin.register(Turn)
class TurnAdmin(TenantsRecord):
    page_template = "admin/invocation/turn.html"
    payloads = ("text", "output", "error", "metadata", "last_event")
    list_display = ("key", "state_badge", "marks", "asked", "endpoint", "tenant", "received", "first_words", "whole")
    list_filter = (
        filters.choice("state", lambda: filters.words(TurnState)),
        "truncated",
        "retracted",
        filters.Endpoint,
        filters.Tenant,
    )
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Turn]:
        return _timed(super().get_queryset(request))

    @admin.display(description="marks")
    def marks(self, row: Turn) -> SafeString:
        return _marks(row)

    @admin.display(description="asked")
    def asked(self, row: Turn) -> str:
        return cells.excerpt(_question(row))

    @admin.display(description="received")
    def received(self, row: Turn) -> SafeString | str:
        return cells.ago(row.received_at)

    @admin.display(description="first words")
    def first_words(self, row: Any) -> str:
        return cells.took(row.first_delta_ms)

    @admin.display(description="whole turn")
    def whole(self, row: Turn) -> str:
        return cells.took(_whole_ms(row))

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "turn": _told(row),
            "panels": _panels(row),
            "runs": run_rows(row),
        }


def _timed(turns: QuerySet[Turn]) -> QuerySet[Turn]:
    """Add the first delta's time of the attempt that ended each turn."""
    runs = RunRecord.objects.filter(source_id=OuterRef("pk"), attempt=OuterRef("attempt"))
    return turns.select_related("continuation").annotate(
        first_delta_ms=Subquery(runs.values("first_delta_ms")[:1]), session_key=F("session_id")
    )


def _told(turn: Any) -> dict[str, Any]:
    return {
        "row": turn,
        "address": cells.address("turn", turn.pk),
        "badge": cells.badge(turn.state),
        "marks": _marks(turn),
        "question": masked_text(_question(turn)),
        "answer": masked_text(turn.text),
        "first_words": cells.took(turn.first_delta_ms),
        "whole": cells.took(_whole_ms(turn)),
        "continued": cells.link_to("job", turn.continuation.job_id) if hasattr(turn, "continuation") else "",
        "last_event": (turn.last_event or {}).get("type", ""),
        "last_seq": (turn.last_event or {}).get("seq"),
    }


def _panels(turn: Turn) -> list[tuple[str, str]]:
    shown = {"Input": turn.input, "Output": turn.output, "Error": turn.error, "Last event": turn.last_event, "Metadata": turn.metadata}
    return [(name, cells.pretty(value)) for name, value in shown.items() if value]


def _question(turn: Turn) -> str:
    return str(turn.input.get("text") or cells.pretty(turn.input))


def _marks(turn: Turn) -> SafeString:
    words = [word for word in ("truncated", "retracted") if getattr(turn, word)]
    first, second = [*map(cells.badge, words), "", ""][:2]
    return format_html("{} {}", first, second)


def _whole_ms(turn: Turn) -> float | None:
    return (turn.finished_at - turn.received_at).total_seconds() * 1000 if turn.finished_at else None
