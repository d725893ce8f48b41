"""What is read of jobs, their history, their journal and their results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from invocation.domain.errors import NoResult, NotFound, ResultNotReady
from invocation.domain.jobs import TERMINAL, JobState
from invocation.models import Job, JobEvent, Result, RunRecord, StepRecord

ENDED_TYPES = frozenset(f"job.{state}" for state in TERMINAL)


def jobs_of(tenant_id: UUID, filters: Mapping[str, str]) -> QuerySet[Job]:
    """Return the tenant's jobs; `filters` may name a state and an endpoint."""
    return Job.objects.filter(tenant_id=tenant_id, **filters)


def owned_job(tenant_id: UUID, job_id: UUID) -> Job:
    """Return the tenant's job. Raises NotFound, also for another tenant's."""
    found = Job.objects.select_related("redrive_of", "successor").filter(pk=job_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound(f"There is no job {job_id}.", field="id", found=str(job_id))
    return found


def result_of(job: Job) -> Result:
    """Return a completed job's result. Raises ResultNotReady before the end, NoResult after another end."""
    found = Result.objects.filter(job=job).first()
    if found is not None:
        return found
    if job.state in TERMINAL and job.state != JobState.COMPLETED:
        raise NoResult(f"Job {job.pk} is {job.state}.", state=job.state, error=job.error, reason=job.reason)
    raise ResultNotReady(f"Job {job.pk} is {job.state}.", state=job.state)


def events_after(job_id: UUID, seq: int) -> list[JobEvent]:
    return list(JobEvent.objects.filter(job_id=job_id, seq__gt=seq).order_by("seq")[:500])


def has_ended(job_id: UUID) -> bool:
    return Job.objects.filter(pk=job_id, finished_at__isnull=False).exists()


def steps_of(job: Job) -> QuerySet[StepRecord]:
    return StepRecord.objects.filter(job=job).order_by("pk")


def runs_of(tenant_id: UUID, filters: Mapping[str, Any]) -> QuerySet[RunRecord]:
    """Return the tenant's runs; `filters` may name a mode, an endpoint, an outcome and a source_id."""
    return RunRecord.objects.filter(tenant_id=tenant_id, **filters)
