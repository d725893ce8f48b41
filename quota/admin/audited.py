"""Rows that people change by hand, each change on record: who, when, and every field's old and new value."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.admin import ModelAdmin

from quota.models import QuotaChange
from quota.services import changes

SHOWN = 20


class Audited(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Saves and deletes through the service that keeps the record, and shows the row's last changes below its form."""

    change_form_after_template = "admin/quota/changes_of_a_row.html"
    effective = ""
    """What is said after a change about when it holds."""

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:  # noqa: FBT001
        save = changes.change if change else changes.add
        save(obj, by=request.user.get_username(), now=timezone.now())
        if self.effective:
            self.message_user(request, self.effective)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        changes.delete(obj, by=request.user.get_username(), now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            self.delete_model(request, row)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **named: Any) -> HttpResponse:
        row = named.get("obj")
        answer: HttpResponse = super().render_change_form(request, {**context, "changes": _changes_of(row) if row else ()}, *args, **named)
        return answer


def _changes_of(row: Model) -> QuerySet[QuotaChange]:
    subject = changes.SUBJECTS[type(row)]
    return QuotaChange.objects.filter(subject=subject, subject_id=str(row.pk)).order_by("-id")[:SHOWN]
