"""Runs and worker processes in the admin, to be read only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, Count, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.admin import cells, filters
from invocation.admin.on_record import OnRecord, TenantsRecord
from invocation.domain.outcomes import RunOutcome
from invocation.models import Job, Process, RunRecord, Shard, Turn

MOST_JOBS = 100
PAGES = {"job": "job", "turn": "turn"}
OUTCOMES = tuple(map(str, RunOutcome))


@admin.register(RunRecord)
class RunRecordAdmin(TenantsRecord):
    page_template = "admin/invocation/run.html"
    list_display = (
        "key",
        "outcome_badge",
        "called",
        "tenant",
        "of",
        "waited",
        "first_words",
        "duration",
        "tokens",
        "cost",
        "finished",
    )
    list_filter = (filters.ModeOf, filters.Endpoint, filters.choice("outcome", lambda: filters.words(OUTCOMES)), filters.Tenant)
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"

    @admin.display(description="outcome")
    def outcome_badge(self, row: RunRecord) -> SafeString:
        return format_html("{} {}", cells.badge(row.outcome), row.error_code)

    @admin.display(description="endpoint, mode")
    def called(self, row: RunRecord) -> SafeString:
        return cells.two_lines(row.endpoint, row.mode)

    @admin.display(description="of")
    def of(self, row: RunRecord) -> SafeString | str:
        page = PAGES.get(row.source)
        return format_html("{} {}", row.source, cells.link_to(page, row.source_id)) if page else row.source

    @admin.display(description="waited")
    def waited(self, row: RunRecord) -> str:
        return cells.took(row.waited_ms)

    @admin.display(description="first words")
    def first_words(self, row: RunRecord) -> str:
        return cells.took(row.first_delta_ms)

    @admin.display(description="duration")
    def duration(self, row: RunRecord) -> str:
        return cells.took(row.duration_ms)

    @admin.display(description="tokens in / out")
    def tokens(self, row: RunRecord) -> str:
        return f"{row.input_tokens:,} / {row.output_tokens:,}"

    @admin.display(description="cost")
    def cost(self, row: RunRecord) -> str:
        return cells.money(row.cost_usd)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "outcome": self.outcome_badge(row),
            "figures": [
                ("Of", self.of(row)),
                ("Attempt", row.attempt),
                ("Tenant", self.tenant(row)),
                ("Mode", row.mode),
                ("Agent", row.agent),
                ("Waited", self.waited(row)),
                ("First words", self.first_words(row)),
                ("Duration", self.duration(row)),
                ("Tokens in / out", self.tokens(row)),
                ("Cost", self.cost(row)),
                ("Models", ", ".join(row.models_used) or cells.NONE),
                ("Finished", cells.ago(row.finished_at)),
                ("Trace", row.traceparent),
            ],
        }


@admin.register(Process)
class ProcessAdmin(OnRecord):
    page_template = "admin/invocation/process.html"
    list_display = ("name", "standing", "priority_class", "slots", "holds", "lease", "since")
    list_filter = (filters.Class, "is_draining")
    ordering = ("priority_class", "-started_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Process]:
        counted = {"jobs": _held_by(Job), "turns": _held_by(Turn), "shards": _with_shards()}
        found: QuerySet[Process] = super().get_queryset(request).annotate(**counted)
        return found

    @admin.display(description="process")
    def name(self, row: Process) -> str:
        return f"{row.host}, pid {row.pid}"

    @admin.display(description="state")
    def standing(self, row: Process) -> SafeString:
        if row.lease_until <= timezone.now():
            return cells.badge("expired")
        return cells.badge("draining") if row.is_draining else cells.badge("live")

    @admin.display(description="at work")
    def holds(self, row: Any) -> SafeString:
        return cells.bar(row.jobs + row.turns + row.shards, row.slots)

    @admin.display(description="lease ends", ordering="lease_until")
    def lease(self, row: Process) -> SafeString | str:
        return cells.ago(row.lease_until)

    @admin.display(description="started", ordering="started_at")
    def since(self, row: Process) -> SafeString | str:
        return cells.ago(row.started_at)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "standing": self.standing(row),
            "figures": [
                ("Class", row.priority_class),
                ("Slots", row.slots),
                ("Jobs", row.jobs),
                ("Turns", row.turns),
                ("Shards", row.shards),
                ("Lease ends", self.lease(row)),
                ("Started", self.since(row)),
            ],
            "held_jobs": [_held_job(job) for job in Job.objects.filter(owner=row.pk).only("id", "endpoint", "state")[:MOST_JOBS]],
        }


def _held_job(job: Job) -> tuple[SafeString, str, SafeString]:
    return cells.link_to("job", job.pk), job.endpoint, cells.badge(job.state)


def _with_shards() -> Case:
    """Say of each process how many shards it holds: they may lie in another database, so they are counted first."""
    held = Shard.objects.filter(owner__isnull=False).order_by().values_list("owner").annotate(Count("pk"))
    return Case(*[When(pk=owner, then=Value(many)) for owner, many in held], default=Value(0))


def _held_by(model: Any) -> Coalesce:
    """Count what a process holds, by the partial index on its owner."""
    rows = model.objects.filter(owner=OuterRef("pk")).order_by().values("owner")
    return Coalesce(Subquery(rows.annotate(many=Count("pk")).values("many")), 0)
