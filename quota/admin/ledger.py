"""The ledger in the admin: each line with the prices that explain it, and the page of what it adds up to."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString

from quota.admin import cells
from quota.admin.reading import ReadOnly
from quota.admin.usage import UsageView
from quota.models import BatchLedgerEntry, LedgerEntry
from quota.models.ledger import Line


class Lines(ReadOnly):
    """To be read only, newest first: no index serves another order."""

    list_display = ("when", "tenant", "endpoint", "mode_mark", "model", "tokens", "prices", "cost_usd", "counted_by")
    list_filter = ("mode", "priority_class", "estimated")
    list_display_links = None

    @admin.display(description="at")
    def when(self, row: Line) -> SafeString | str:
        return cells.ago(row.at)

    @admin.display(description="tenant")
    def tenant(self, row: Line) -> str:
        return f"…{str(row.tenant_id)[-8:]}"

    @admin.display(description="mode")
    def mode_mark(self, row: Line) -> SafeString:
        return cells.mode(row.mode)

    @admin.display(description="in / cached / out")
    def tokens(self, row: Line) -> str:
        return f"{row.input_tokens:,} / {row.cached_tokens:,} / {row.output_tokens:,}"

    @admin.display(description="USD per million")
    def prices(self, row: Line) -> str:
        told = (row.input_price, row.cached_price, row.output_price)
        return " / ".join(cells.NONE if price is None else f"{price.normalize():f}" for price in told)

    @admin.display(description="tokens by")
    def counted_by(self, row: Line) -> SafeString:
        return cells.badge("estimated", tone="wary") if row.estimated else cells.badge("provider", tone="good")


@admin.register(LedgerEntry)
class LedgerEntryAdmin(Lines):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.custom_urls = (("usage/", "quota_usage", UsageView.as_view(model_admin=self)),)


@admin.register(BatchLedgerEntry)
class BatchLedgerEntryAdmin(Lines):
    """The ledger of batches: tables of their own, so a list of its own."""
