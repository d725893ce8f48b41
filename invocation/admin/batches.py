"""Batches in the admin: how far each is, a heat-map of its shards, what it cost and which rows failed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from invocation.admin import cells, filters
from invocation.admin.on_record import TenantsRecord
from invocation.domain.batches import BatchState
from invocation.domain.masking import masked_text
from invocation.models import Batch, BatchRow, Shard
from invocation.selectors import batches

SUMS = ("position", "failed_rows", "cost_usd")
MOST_ERRORS = 50


@admin.register(Batch)
class BatchAdmin(TenantsRecord):
    page_template = "admin/invocation/batch.html"
    list_display = ("key", "state_badge", "endpoint", "tenant", "progress", "row_count", "failed", "cost", "created", "finished")
    list_filter = (filters.choice("state", lambda: filters.words(BatchState)), filters.Endpoint, filters.Tenant)
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        shards = Shard.objects.filter(batch_id=OuterRef("pk")).order_by().values("batch_id")
        sums = {f"sum_{name}": Subquery(shards.annotate(sum=Sum(name)).values("sum")) for name in SUMS}
        found: QuerySet[Batch] = super().get_queryset(request).annotate(**sums)
        return found

    @admin.display(description="progress")
    def progress(self, row: Any) -> SafeString:
        return cells.bar(row.sum_position or 0, row.rows, failed=row.sum_failed_rows or 0)

    @admin.display(description="rows")
    def row_count(self, row: Batch) -> str:
        return f"{row.rows:,}"

    @admin.display(description="failed rows")
    def failed(self, row: Any) -> str:
        return f"{row.sum_failed_rows or 0:,}"

    @admin.display(description="cost")
    def cost(self, row: Any) -> str:
        return cells.money(row.sum_cost_usd)

    @admin.display(description="created")
    def created(self, row: Batch) -> SafeString | str:
        return cells.ago(row.created_at)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        progress = batches.progress(row, now=timezone.now())
        shards = list(batches.shards_of(row))
        failed = BatchRow.objects.filter(batch=row).exclude(error_code="").order_by("-pk")[:MOST_ERRORS] if progress.rows_failed else []
        return {
            "progress": progress,
            "bar": cells.bar(progress.rows_done, row.rows, failed=progress.rows_failed),
            "figures": _figures(row, progress),
            "states": [(state, count, cells.TONES.get(state, "calm")) for state, count in progress.shards.items() if count],
            "shards": [_cell(shard) for shard in shards],
            "errors": [_failed_row(each) for each in failed],
            "state": cells.badge(row.state),
            "fault": cells.pretty(row.fault) if row.fault else "",
        }


def _figures(row: Batch, progress: batches.Progress) -> list[tuple[str, object]]:
    return [
        ("Rows done", f"{progress.rows_done:,} of {row.rows:,}"),
        ("Failed rows", f"{progress.rows_failed:,}"),
        ("Rate", f"{progress.rate:,.1f} rows/s" if progress.rate else cells.NONE),
        ("Time left", cells.took(progress.eta_s * 1000) if progress.eta_s else cells.NONE),
        ("Cost", f"{cells.money(progress.cost_usd)} of {cells.money(row.cost_cap_usd)}"),
        ("Tokens", f"{progress.input_tokens:,} in, {progress.output_tokens:,} out"),
        ("Wave", row.wave),
        ("Shards", sum(progress.shards.values())),
    ]


def _failed_row(row: BatchRow) -> tuple[object, ...]:
    return masked_text(row.row_id), row.shard, row.error_code, cells.took(row.duration_ms), cells.money(row.cost_usd), cells.exact(row.at)


def _cell(shard: Shard) -> dict[str, Any]:
    """One square of the heat-map: its colour is the state, its fill how far it is, its border tells of failed rows."""
    share = 100 * shard.position // max(shard.rows, 1)
    return {
        "tone": cells.TONES.get(shard.state, "calm"),
        "fill": share,
        "has_failures": shard.failed_rows > 0,
        "title": f"Shard {shard.index}: {shard.state}, {shard.position} of {shard.rows} rows, "
        f"{shard.failed_rows} failed, attempt {shard.attempt}, {cells.money(shard.cost_usd)}",
    }
