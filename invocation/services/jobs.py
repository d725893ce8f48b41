"""What people do to jobs: cancel; and what time does: wake, expire."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from invocation.domain.errors import StaleMove
from invocation.domain.jobs import MAY_EXPIRE, PARKED, JobState, Move
from invocation.models import Job
from invocation.services import endings, lifecycle
from invocation.services.answering import answer, answer_all

__all__ = ["answer", "answer_all", "cancel", "expire_due", "wake_due"]


def cancel(job_id: UUID, *, reason: str, now: datetime) -> None:
    """End a job that no worker holds at once; ask the worker of one that runs to stop. Called again it changes nothing.

    Raises StaleMove if the job has ended another way.
    """
    with transaction.atomic():
        if not endings.stop([job_id], reason=reason, now=now):
            _must_be_ending(job_id)


def _must_be_ending(job_id: UUID) -> None:
    state = Job.objects.values_list("state", flat=True).get(pk=job_id)
    if state not in {JobState.CANCELLING, JobState.CANCELLED}:
        raise StaleMove(f"Job {job_id} is {state} already and cannot be cancelled.")


def wake_due(*, now: datetime, most: int = 500) -> int:
    """Queue the parked jobs whose time has come: what they waited for is there, or did not come in time."""
    due = Job.objects.filter(state__in=PARKED, due_at__lte=now).order_by("due_at").values_list("id", flat=True)[:most]
    given = [lifecycle.of(job_id) for job_id in due]
    return sum(len(lifecycle.move(kind, given, now=now, right="job.due_at <= now.at")) for kind in (Move.WAKE, Move.TIME_OUT))


EXPIRED_AT_ONCE = 500


def expire_due(*, now: datetime, most: int = EXPIRED_AT_ONCE) -> int:
    """Cancel the jobs that nobody wants any more: of those queued or parked a page, and all that were admitted and not begun."""
    expired = Job.objects.filter(expires_at__lte=now).values_list("id", flat=True)
    due = [*expired.filter(state__in=MAY_EXPIRE)[:most], *expired.filter(state=JobState.DISPATCHED)]
    given = [lifecycle.of(job_id) for job_id in due]
    with transaction.atomic():
        return len(endings.end(Move.EXPIRE, given, now=now, right="job.expires_at <= now.at"))
