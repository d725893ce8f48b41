"""Jobs in the admin: the list, and one job with its input, output, history, journal and runs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.admin import cells, filters
from invocation.admin.on_record import TenantsRecord
from invocation.domain.jobs import JobState
from invocation.domain.masking import masked
from invocation.models import Job, Result, RunRecord
from invocation.selectors import jobs
from invocation.selectors.results import kept_output

MOST_EVENTS = 500
MOST_STEPS = 200
PAYLOADS = ("input", "metadata", "answers", "questions", "progress")


@admin.register(Job)
class JobAdmin(TenantsRecord):
    page_template = "admin/invocation/job/page.html"
    payloads = (*PAYLOADS, "error", "broke")
    list_display = ("key", "state_badge", "called", "tenant", "in_class", "attempts", "queued", "started", "finished", "cost")
    list_filter = (
        filters.choice("state", lambda: filters.words(JobState)),
        filters.Endpoint,
        filters.ModeOf,
        filters.Class,
        filters.CauseOf,
        filters.Tenant,
    )
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"

    @admin.display(description="endpoint, agent")
    def called(self, row: Job) -> SafeString:
        return cells.two_lines(row.endpoint, row.agent)

    @admin.display(description="class")
    def in_class(self, row: Job) -> str:
        return row.priority_class

    @admin.display(description="attempts")
    def attempts(self, row: Job) -> SafeString:
        return cells.tries(row)

    @admin.display(description="cost")
    def cost(self, row: Job) -> str:
        return cells.money(row.spent_usd)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return of_job(row)


def of_job(row: Any) -> dict[str, Any]:
    """Return what a job's page shows: private values masked."""
    result = Result.objects.filter(job_id=row.pk).first()
    events = list(jobs.events_after(row.pk, 0)[:MOST_EVENTS])
    return {
        "figures": _figures(row),
        "moments": _moments(row),
        "panels": _panels(row, result),
        "events": [_event(event) for event in events],
        "steps": [_step(step) for step in jobs.steps_of(row)[:MOST_STEPS]],
        "runs": run_rows(row),
        "state": cells.badge(row.state),
        "cause": cells.badge(row.cause, tone="bad") if row.cause else "",
        "error": masked(error_of(row)),
        "successor": Job.objects.filter(redrive_of_id=row.pk).values_list("pk", flat=True).first(),
    }


def error_of(row: Any) -> Any:
    """Return a job's error with what is for operators alone."""
    return {**row.error, "broke": row.broke} if row.broke else row.error


def run_rows(row: Any) -> list[tuple[object, ...]]:
    """Return the runs of a job or turn as cells of a table, by attempt."""
    return [_run_row(run) for run in jobs.runs_of(row.tenant_id, {"source_id": row.pk}).order_by("attempt")]


def _run_row(run: RunRecord) -> tuple[object, ...]:
    return (
        cells.link_to("runrecord", run.pk, text=str(run.attempt)),
        format_html("{} {}", cells.badge(run.outcome), run.error_code),
        cells.took(run.waited_ms),
        cells.took(run.first_delta_ms),
        cells.took(run.duration_ms),
        f"{run.input_tokens:,} / {run.output_tokens:,}",
        cells.money(run.cost_usd),
        ", ".join(run.models_used),
    )


def _figures(row: Any) -> list[tuple[str, object]]:
    return [
        ("Tenant", row.tenant_name or row.tenant_id),
        ("Class", row.priority_class),
        ("Mode", row.mode),
        ("Attempt", row.attempt),
        ("Failures", f"{row.failures} of {row.tries}"),
        ("Losses", row.losses),
        ("Cost", f"{cells.money(row.spent_usd)} of {cells.money(row.cost_cap_usd)}"),
        ("Tokens", f"{row.spent_tokens:,} of {row.token_cap:,}"),
        ("Model calls", f"{row.spent_calls:,} of {row.call_cap:,}"),
        ("Latency budget", cells.took(row.latency_budget_ms)),
    ]


def _moments(row: Any) -> list[tuple[str, Any]]:
    named = ("created_at", "queued_at", "dispatched_at", "started_at", "finished_at", "due_at", "expires_at")
    return [(name.removesuffix("_at"), cells.exact(moment)) for name in named if (moment := getattr(row, name))]


def _panels(row: Any, result: Result | None) -> list[tuple[str, str]]:
    shown = {
        "Input": row.input,
        "Output": kept_output(result) if result else None,
        "Questions": row.questions,
        "Answers": row.answers,
        "Progress": row.progress,
        "Metadata": row.metadata,
    }
    return [(name, cells.pretty(value)) for name, value in shown.items() if value]


def _event(event: Any) -> dict[str, Any]:
    state = event.type.removeprefix("job.")
    facts = {name: value for name, value in event.data.items() if name not in {"move", "attempt", "error"}}
    return {
        "seq": event.seq,
        "at": cells.exact(event.at),
        "badge": cells.badge(state),
        "move": event.data.get("move", ""),
        "attempt": event.data.get("attempt"),
        "error": (event.data.get("error") or {}).get("code", ""),
        "facts": cells.pretty(facts) if facts else "",
    }


def _step(step: Any) -> dict[str, Any]:
    return {
        "name": step.name,
        "occurrence": step.occurrence,
        "attempt": step.attempt,
        "at": step.at,
        "result": cells.pretty(jobs.step_result(step)),
    }
