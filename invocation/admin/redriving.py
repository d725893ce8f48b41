"""Starting dead letters again, and telling what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from invocation.admin import cells
from invocation.domain.errors import InvocationError
from invocation.models import DeadLetter
from invocation.services import jobs

MOST_AT_ONCE = 200
MOST_TOLD = 10


def redrive_one(request: HttpRequest, row: DeadLetter) -> None:
    """Start one again. Raises what jobs.redrive raises."""
    _tell_started(request, [jobs.redrive(row.pk, now=timezone.now()).job_id])


def redrive_many(request: HttpRequest, rows: QuerySet[DeadLetter]) -> None:
    """Start up to two hundred again, oldest first, each in a transaction of its own; who cannot be is named, with the reason."""
    chosen = list(rows.order_by("pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    outcomes = [_redriven(job_id) for job_id in chosen[:MOST_AT_ONCE]]
    _tell_started(request, [found for found in outcomes if isinstance(found, UUID)])
    _tell_refused(request, [found for found in outcomes if isinstance(found, SafeString)])
    if len(chosen) > MOST_AT_ONCE:
        messages.warning(request, f"Only the {MOST_AT_ONCE} oldest of them were taken at once: select the rest again.")


def _redriven(job_id: UUID) -> UUID | SafeString:
    try:
        return jobs.redrive(job_id, now=timezone.now()).job_id
    except InvocationError as refused:
        return format_html("{}: {}", cells.link_to("deadletter", job_id), refused)


def _tell_started(request: HttpRequest, started: Sequence[UUID]) -> None:
    if not started:
        return
    links = format_html_join(", ", "{}", ((cells.link_to("job", job_id),) for job_id in started[:MOST_TOLD]))
    rest = f" and {len(started) - MOST_TOLD} more" if len(started) > MOST_TOLD else ""
    noun = "job" if len(started) == 1 else "jobs"
    messages.success(request, format_html("Redriven as {} new {}: {}{}. What failed stays failed.", len(started), noun, links, rest))


def _tell_refused(request: HttpRequest, sentences: Sequence[SafeString]) -> None:
    for sentence in sentences[:MOST_TOLD]:
        messages.error(request, sentence)
    if len(sentences) > MOST_TOLD:
        messages.error(request, f"{len(sentences) - MOST_TOLD} more could not be redriven.")
