"""What people do to jobs: cancel, answer, redrive; and what time does: wake, expire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from invocation.domain.errors import InputInvalid, NotWaiting, StaleMove
from invocation.domain.jobs import MAY_EXPIRE, JobState, Move
from invocation.domain.schedules import FiringMove
from invocation.gateways import declared, schemas
from invocation.models import Job
from invocation.services import firings, lifecycle
from invocation.services.cancelling import say_stop
from invocation.services.submission import CHANNEL, Accepted, Submission, submit


def cancel(job_id: UUID, *, reason: str, now: datetime) -> None:
    """End a job that no worker holds at once; ask the worker of one that runs to stop. Called again it changes nothing.

    Raises StaleMove if the job has ended another way.
    """
    given = lifecycle.of(job_id, reason=reason)
    with transaction.atomic():
        if lifecycle.move(Move.CANCEL, [given], now=now):
            firings.follow(job_id, FiringMove.CANCEL, now=now)
        elif lifecycle.move(Move.REQUEST_CANCEL, [given], now=now):
            say_stop(job_id)
        else:
            _must_be_ending(job_id)


def _must_be_ending(job_id: UUID) -> None:
    state = Job.objects.values_list("state", flat=True).get(pk=job_id)
    if state not in {JobState.CANCELLING, JobState.CANCELLED}:
        raise StaleMove(f"Job {job_id} is {state} already and cannot be cancelled.")


def answer(job_id: UUID, *, key: str, value: Any, now: datetime) -> None:
    """Store a person's answer and queue the job again.

    Raises NotWaiting if this is not what the job asks, InputInvalid if the answer does not fit the question's schema.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=job_id)
        question = job.question or {}
        if job.state != JobState.INPUT_REQUIRED or question.get("key") != key:
            raise NotWaiting(_not_asked(job, key), field="key", found=key)
        _check_answer(value, question["schema"])
        lifecycle.move_one(Move.ANSWER, lifecycle.of(job_id, answers={key: value}), now=now)
        _hint(job.priority_class)


def _not_asked(job: Job, key: str) -> str:
    asked = f"it asks {job.question['key']!r}" if job.question else "it asks nothing"
    return f"Job {job.id} is {job.state} and does not ask {key!r}: {asked}."


def _check_answer(value: Any, schema: Mapping[str, Any]) -> None:
    try:
        schemas.check(value, schema)
    except schemas.Unfit as unfit:
        raise InputInvalid(f"/value{unfit.pointer}: {unfit.wanted}.", field=f"/value{unfit.pointer}", found=unfit.found) from None


def redrive(job_id: UUID, *, now: datetime, edited: Mapping[str, Any] | None = None) -> Accepted:
    """Start a failed job again as a new job linked to it; the old one stays failed and names its successor.

    Raises StaleMove if the job has not failed or was redriven before, InputInvalid if the edited input is wrong.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=job_id)
        if job.state != JobState.FAILED:
            raise StaleMove(f"Job {job.id} is {job.state}: only a failed job can be redriven.")
        if Job.objects.filter(redrive_of=job).exists():
            raise StaleMove(f"Job {job.id} was redriven before, as job {job.successor.id}.")
        return submit(_again(job, edited), now=now)


def _again(job: Job, edited: Mapping[str, Any] | None) -> Submission:
    return Submission(
        tenant_id=job.tenant_id,
        endpoint=declared.book().find(job.endpoint),
        input=job.input if edited is None else edited,
        subject=job.subject,
        locale=job.locale,
        metadata=job.metadata,
        ordering_key=job.ordering_key,
        cost_usd=job.cost_cap_usd,
        redrive_of=job.id,
    )


def wake_due(*, now: datetime, most: int = 500) -> int:
    """Queue the waiting jobs whose time has come."""
    due = Job.objects.filter(state=JobState.WAITING, due_at__lte=now).order_by("due_at").values_list("id", flat=True)[:most]
    return len(lifecycle.move(Move.WAKE, [lifecycle.of(job_id) for job_id in due], now=now, right="job.due_at <= now.at"))


def expire_due(*, now: datetime, most: int = 500) -> int:
    """Cancel the jobs, queued or parked, that nobody wants any more."""
    due = Job.objects.filter(state__in=MAY_EXPIRE, expires_at__lte=now).values_list("id", flat=True)[:most]
    given = [lifecycle.of(job_id) for job_id in due]
    with transaction.atomic():
        moved = lifecycle.move(Move.EXPIRE, given, now=now, right="job.expires_at <= now.at")
        _end_firings(moved, now=now)
    return len(moved)


def _end_firings(job_ids: Sequence[UUID] | set[UUID], *, now: datetime) -> None:
    for job_id in job_ids:
        firings.follow(job_id, FiringMove.CANCEL, now=now)


def _hint(priority_class: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, priority_class])
