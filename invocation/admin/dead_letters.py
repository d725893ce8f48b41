"""Dead letters in the admin: why each job failed, and starting it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.admin import cells, filters, redriving
from invocation.admin.jobs import PAYLOADS, of_job
from invocation.admin.on_record import TenantsRecord
from invocation.models import DeadLetter
from invocation.selectors import dead_letters


class Redriven(SimpleListFilter):
    title = "redriven"
    parameter_name = "redriven"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Sequence[tuple[str, str]]:
        return [("no", "not yet"), ("yes", "redriven")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = {"no": True, "yes": False}.get(self.value() or "")
        return queryset if wanted is None else queryset.filter(successor__isnull=wanted)


class ErrorCode(SimpleListFilter):
    """The codes of the newest dead letters; older ones stay reachable by their cause."""

    title = "error code"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Sequence[tuple[str, str]]:
        newest = dead_letters.dead_letters().order_by("-pk").values_list("error__code", flat=True)[:1_000]
        return filters.words(sorted({code for code in newest if code}))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(error__code=self.value()) if self.value() else queryset


@admin.register(DeadLetter)
class DeadLetterAdmin(TenantsRecord):
    page_template = "admin/invocation/job/page.html"
    payloads = (*PAYLOADS, *(f"successor__{name}" for name in (*PAYLOADS, "error")))
    list_display = ("key", "cause_badge", "why", "endpoint", "tenant", "attempts", "finished", "redriven")
    list_filter = (
        filters.Endpoint,
        filters.CauseOf,
        ErrorCode,
        filters.age("finished_at", title="age"),
        filters.Tenant,
        Redriven,
    )
    list_select_related = ("successor",)
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"
    actions = ("redrive_selected",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.acts = {"redrive": redriving.redrive_one}

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        rows: QuerySet[DeadLetter] = super().get_queryset(request)
        return dead_letters.kept(rows)

    @admin.display(description="cause")
    def cause_badge(self, row: DeadLetter) -> SafeString:
        return cells.badge(row.cause or "unknown", tone="bad")

    @admin.display(description="error")
    def why(self, row: DeadLetter) -> SafeString:
        told = row.error or {}
        return cells.two_lines(told.get("code", ""), cells.excerpt(told.get("sentence", "")))

    @admin.display(description="attempts")
    def attempts(self, row: DeadLetter) -> SafeString:
        return cells.tries(row)

    @admin.display(description="redrive")
    def redriven(self, row: DeadLetter) -> SafeString | str:
        successor = getattr(row, "successor", None)
        return format_html("as {}", cells.link_to("job", successor.pk)) if successor else self.act_button(row, "redrive", text="Redrive")

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {**of_job(row), "redrive_address": self.act_address(row, "redrive")}

    @admin.action(description="Redrive the selected jobs", permissions=("act",))
    def redrive_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        redriving.redrive_many(request, queryset)
