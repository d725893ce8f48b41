"""Batches in the admin: how far each is, live; a heat-map of its shards; what it costs, what fails, and what may be done about it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.admin import batching, cells, filters
from invocation.admin.on_record import ApartRecord
from invocation.domain.batch_acts import MOST_REASON, Act
from invocation.domain.batches import BATCH_ENDED, BatchState
from invocation.domain.masking import masked_text
from invocation.models import Batch, BatchRow
from invocation.selectors import batches, failures

SUMS = ("done", "failed_rows", "cost_usd")
MOST_ERRORS = 50
MOST_ON_RECORD = 20


@admin.register(Batch)
class BatchAdmin(ApartRecord):
    page_template = "admin/invocation/batches/page.html"
    list_display = (
        "key",
        "state_badge",
        "endpoint",
        "tenant",
        "progress",
        "row_count",
        "failed",
        "cost",
        "published",
        "created",
        "finished",
    )
    list_filter = (filters.choice("state", lambda: filters.words(BatchState)), filters.Endpoint, filters.Tenant)
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"

    class Media:
        js = ("invocation/live.js",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.acts = {str(act): self._recorded(act) for act in Act}

    def get_urls(self) -> list[Any]:
        live = path("<path:object_id>/live/", self.admin_site.admin_view(self.live_view), name="invocation_batch_live")
        return [live, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        found: QuerySet[Batch] = super().get_queryset(request).annotate(**batches.sums(SUMS))
        return found

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return what of the page changes, as JSON, for static/invocation/batch.js."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            raise Http404
        return JsonResponse(batching.update(row, now=timezone.now()))

    @admin.display(description="state")
    def state_badge(self, row: Any) -> SafeString:
        return _live(row, "state", cells.badge(row.state))

    @admin.display(description="progress")
    def progress(self, row: Any) -> SafeString:
        return _live(row, "bar", cells.bar(row.sum_done or 0, row.rows, failed=row.sum_failed_rows or 0))

    @admin.display(description="rows")
    def row_count(self, row: Batch) -> str:
        return f"{row.rows:,}"

    @admin.display(description="failed rows")
    def failed(self, row: Any) -> SafeString:
        return _live(row, "failed", f"{row.sum_failed_rows or 0:,}")

    @admin.display(description="cost")
    def cost(self, row: Any) -> SafeString:
        return _live(row, "cost", cells.money(row.sum_cost_usd))

    @admin.display(description="published")
    def published(self, row: Any) -> SafeString:
        return _live(row, "published", batching.publication(row) or cells.NONE)

    @admin.display(description="created")
    def created(self, row: Batch) -> SafeString | str:
        return cells.ago(row.created_at)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        shown = batching.drawn(row, now=timezone.now())
        return {
            **shown,
            "live_address": reverse("admin:invocation_batch_live", args=[row.pk]),
            "forms": batching.acts_of(row, shown["acts"], self.act_address) if row.may_act else [],
            "most_reason": MOST_REASON,
            "errors": [_failed_row(each) for each in failures.newest(row, most=MOST_ERRORS)],
            "on_record": _on_record(row),
        }

    def _recorded(self, act: Act) -> Any:
        """Return the act, which leaves on record who did it and why."""

        def do(request: HttpRequest, row: Any) -> None:
            batching.ACTS[act](request, row)
            why = batching.reason(request)
            self.log_change(request, row, f"{act.replace('-', ' ').capitalize()}{f': {why}' if why else '.'}")

        return do


def _live(row: Batch, part: str, shown: str) -> SafeString:
    """Mark what static/invocation/live.js keeps as it stands."""
    is_open = SafeString("" if row.state in BATCH_ENDED else " data-open")
    return format_html('<span data-live="{}-{}"{}>{}</span>', part, row.pk, is_open, shown)


def _failed_row(row: BatchRow) -> tuple[object, ...]:
    return masked_text(row.row_id), row.shard, row.error_code, cells.took(row.duration_ms), cells.money(row.cost_usd), cells.exact(row.at)


def _on_record(row: Batch) -> list[tuple[str, str, str]]:
    """Return who did what to it here, when and why, the newest first."""
    kind = get_content_type_for_model(row)
    entries = LogEntry.objects.filter(content_type=kind, object_id=str(row.pk)).select_related("user").order_by("-action_time")
    return [(cells.exact(each.action_time), each.user.get_username(), each.get_change_message()) for each in entries[:MOST_ON_RECORD]]
