"""The record of what was changed by hand."""

from __future__ import annotations

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from quota.admin import cells
from quota.admin.reading import ReadOnly
from quota.domain.changes import Act
from quota.models import QuotaChange

TONES = {Act.ADDED: "good", Act.CHANGED: "busy", Act.DELETED: "bad"}


@admin.register(QuotaChange)
class QuotaChangeAdmin(ReadOnly):
    """To be read only: the database refuses to change or delete a row."""

    list_display = ("when", "by", "what", "subject_word", "name", "diff", "reason")
    list_display_links = None
    list_filter = ("subject", "act", "by")
    search_fields = ("name", "by", "reason")

    @admin.display(description="when")
    def when(self, row: QuotaChange) -> SafeString | str:
        return cells.ago(row.at)

    @admin.display(description="act")
    def what(self, row: QuotaChange) -> SafeString:
        return cells.badge(row.act, tone=TONES[Act(row.act)])

    @admin.display(description="of a")
    def subject_word(self, row: QuotaChange) -> str:
        return row.subject.replace("_", " ")

    @admin.display(description="fields")
    def diff(self, row: QuotaChange) -> SafeString:
        return mark_safe(render_to_string("admin/quota/diff.html", {"fields": row.fields}))  # noqa: S308  (the template escapes)
