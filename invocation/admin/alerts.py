"""Alerts in the admin: what is wrong now, and what was."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from invocation.admin import cells, filters
from invocation.admin.on_record import OnRecord
from invocation.domain.slo import AlertKind
from invocation.models import Alert

KINDS = tuple(map(str, AlertKind))


@admin.register(Alert)
class AlertAdmin(OnRecord):
    page_template = "admin/invocation/alert.html"
    list_display = ("standing", "kind", "priority_class", "sentence", "opened", "closed", "lasted")
    list_filter = (("closed_at", admin.EmptyFieldListFilter), filters.choice("kind", lambda: filters.words(KINDS)), filters.Class)

    @admin.display(description="state")
    def standing(self, row: Alert) -> SafeString:
        return cells.badge("closed") if row.closed_at else cells.badge("open", tone="bad")

    @admin.display(description="opened", ordering="opened_at")
    def opened(self, row: Alert) -> SafeString | str:
        return cells.ago(row.opened_at)

    @admin.display(description="closed", ordering="closed_at")
    def closed(self, row: Alert) -> SafeString | str:
        return cells.ago(row.closed_at)

    @admin.display(description="lasted")
    def lasted(self, row: Alert) -> str:
        return cells.length((row.closed_at or timezone.now()) - row.opened_at)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "standing": self.standing(row),
            "figures": [
                ("Class", row.priority_class),
                ("Found", f"{row.found:,.4g}"),
                ("Bound", f"{row.bound:,.4g}"),
                ("Opened", cells.exact(row.opened_at)),
                ("Closed", cells.exact(row.closed_at) if row.closed_at else cells.NONE),
                ("Lasted", self.lasted(row)),
            ],
        }
