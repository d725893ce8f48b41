"""Schedules in the admin: their next moments and past firings; pausing, resuming and firing now."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.admin import cells, filters
from invocation.admin.on_record import TenantsRecord, attempt
from invocation.models import Schedule
from invocation.selectors import moments
from invocation.selectors.schedules import firings_of
from invocation.services import schedules

MOST_FIRINGS = 50
NEXT_MOMENTS = 5


def pause(request: HttpRequest, row: Schedule) -> None:
    schedules.pause(row.pk, now=timezone.now())
    messages.success(request, f"{row.name} is paused.")


def resume(request: HttpRequest, row: Schedule) -> None:
    schedules.resume(row.pk, now=timezone.now())
    messages.success(request, f"{row.name} fires again from its next moment on.")


def fire(request: HttpRequest, row: Schedule) -> None:
    firing = schedules.fire(row.pk, now=timezone.now())
    messages.success(request, format_html("{} fired as job {}.", row.name, cells.link_to("job", firing.job_id)))


@admin.register(Schedule)
class ScheduleAdmin(TenantsRecord):
    page_template = "admin/invocation/schedule.html"
    list_display = ("name", "standing", "endpoint", "tenant", "cron", "timezone", "next_moment", "last_fired")
    list_filter = ("is_paused", filters.Endpoint, filters.Tenant)
    sortable_by = ("name", "next_moment", "last_fired")
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"
    actions = ("pause_selected", "resume_selected", "fire_selected")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.acts = {"pause": pause, "resume": resume, "fire": fire}

    @admin.display(description="state")
    def standing(self, row: Schedule) -> SafeString:
        return cells.badge("paused") if row.is_paused else cells.badge("live")

    @admin.display(description="next", ordering="next_fire_at")
    def next_moment(self, row: Schedule) -> SafeString | str:
        return cells.NONE if row.is_paused else cells.ago(row.next_fire_at)

    @admin.display(description="last fired", ordering="last_fired_at")
    def last_fired(self, row: Schedule) -> SafeString | str:
        return cells.ago(row.last_fired_at)

    @admin.action(description="Pause", permissions=("act",))
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        _each(request, queryset, pause)

    @admin.action(description="Resume", permissions=("act",))
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        _each(request, queryset, resume)

    @admin.action(description="Fire now", permissions=("act",))
    def fire_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        _each(request, queryset, fire)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        firings = firings_of(row).select_related("job").order_by("-pk")[:MOST_FIRINGS]
        return {
            "standing": self.standing(row),
            "moments": [] if row.is_paused else [(cells.exact(at), cells.ago(at)) for at in moments.upcoming(row, most=NEXT_MOMENTS)],
            "firings": [_told(firing) for firing in firings],
            "input": cells.pretty(row.input),
            "addresses": {act: self.act_address(row, act) for act in self.acts},
        }


def _each(request: HttpRequest, rows: QuerySet[Schedule], act: Any) -> None:
    for row in rows:
        attempt(request, act, row)


def _told(firing: Any) -> dict[str, Any]:
    return {
        "due": cells.exact(firing.due_at),
        "late": cells.took((firing.fired_at - firing.due_at).total_seconds() * 1000),
        "badge": cells.badge(firing.state),
        "job": cells.link_to("job", firing.job_id),
        "cost": cells.money(firing.job.spent_usd),
    }
