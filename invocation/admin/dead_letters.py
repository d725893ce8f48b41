"""Dead letters in the admin: why each job failed, its payload masked or revealed, and what may be done about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.admin import cells, filters, redriving
from invocation.admin.jobs import PAYLOADS, error_of, of_job
from invocation.admin.on_record import TenantsRecord
from invocation.models import DeadLetter
from invocation.selectors import dead_letters

REVEAL = "invocation.reveal_deadletter"
MOST_ON_RECORD = 50


class Standing(SimpleListFilter):
    """Open ones, unless others are asked for."""

    title = "standing"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Sequence[tuple[str, str]]:
        return [(dead_letters.REDRIVEN, "redriven"), (dead_letters.DISCARDED, "discarded"), ("all", "all")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *rest = super().choices(changelist)
        return iter([{**first, "display": "open"}, *rest])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return dead_letters.standing(queryset, self.value() or dead_letters.OPEN)


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
    page_template = "admin/invocation/dead_letters/page.html"
    list_before_template = "admin/invocation/dead_letters/all.html"
    payloads = (*PAYLOADS, *(f"successor__{name}" for name in (*PAYLOADS, "error", "broke")))
    list_display = ("key", "cause_badge", "why", "endpoint", "tenant", "attempts", "finished", "redriven")
    list_filter = (
        filters.Endpoint,
        filters.CauseOf,
        ErrorCode,
        filters.age("finished_at", title="age"),
        filters.Tenant,
        Standing,
    )
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"
    actions = ("redrive_selected", "discard_selected")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.acts = {"redrive": self._redrive, "discard": redriving.discard_one}

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        rows: QuerySet[DeadLetter] = super().get_queryset(request)
        return dead_letters.kept(rows).select_related("successor", "discard")

    def has_redrive_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("invocation.add_redrive"))

    def get_urls(self) -> list[Any]:
        reveal = path("<path:object_id>/reveal/", self.admin_site.admin_view(self.reveal_view), name="invocation_deadletter_reveal")
        return [reveal, *super().get_urls()]

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
        successor, discard = getattr(row, "successor", None), getattr(row, "discard", None)
        if successor:
            return format_html("as {}", cells.link_to("job", successor.pk))
        if discard:
            return format_html('<span title="{}">{}</span>', discard.reason, cells.badge("discarded"))
        return self.act_button(row, "redrive", text="Redrive")

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        discard = getattr(row, "discard", None)
        return {
            **of_job(row),
            "discard": discard,
            "redrive_address": "" if discard else self.act_address(row, "redrive"),
            "discard_address": self.act_address(row, "discard"),
            "edited_address": redriving.edited_address(row) if self.has_redrive_permission(request) else "",
            "reveal_address": reverse("admin:invocation_deadletter_reveal", args=[row.pk]) if request.user.has_perm(REVEAL) else "",
            "on_record": _on_record(row),
        }

    def reveal_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show one dead letter with its private values, once that it was asked for is on record."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(REVEAL):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        self.log_change(request, row, "Revealed the private values.")
        page = cast(TemplateResponse, self.change_view(request, object_id))
        page.context_data = {**(page.context_data or {}), "panels": _revealed(row), "error": error_of(row), "is_revealed": True}
        return page

    def _redrive(self, request: HttpRequest, row: DeadLetter) -> None:
        redriving.redrive_one(request, row)
        self.log_change(request, row, "Redriven.")

    @admin.action(description="Redrive the selected jobs…", permissions=("redrive",))
    def redrive_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return HttpResponseRedirect(redriving.form_address(request, queryset))

    @admin.action(description="Discard the selected jobs…", permissions=("act",))
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        context = {**self.admin_site.each_context(request), "opts": self.opts}
        return redriving.discard_many(request, queryset, action="discard_selected", context=context)


def _on_record(row: DeadLetter) -> list[tuple[str, str, str]]:
    """Return who did what to it here, and when, the newest first."""
    kind = get_content_type_for_model(row)
    entries = LogEntry.objects.filter(content_type=kind, object_id=str(row.pk)).select_related("user").order_by("-action_time")
    return [(cells.exact(each.action_time), each.user.get_username(), each.get_change_message()) for each in entries[:MOST_ON_RECORD]]


def _revealed(row: DeadLetter) -> list[tuple[str, str]]:
    shown = {"Input": row.input, "Questions": row.questions, "Answers": row.answers, "Progress": row.progress, "Metadata": row.metadata}
    return [(name, json.dumps(value, indent=2, ensure_ascii=False)) for name, value in shown.items() if value]
