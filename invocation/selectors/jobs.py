"""What is read of jobs, their history, their journal and their results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from invocation.domain.errors import NotFound
from invocation.domain.jobs import TERMINAL
from invocation.models import DownshiftCount, Job, JobEvent, RunRecord, StepRecord

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


def events_after(job_id: UUID, seq: int) -> list[JobEvent]:
    return list(JobEvent.objects.filter(job_id=job_id, seq__gt=seq).order_by("seq")[:500])


def has_ended(job_id: UUID) -> bool:
    return Job.objects.filter(pk=job_id, finished_at__isnull=False).exists()


def steps_of(job: Job) -> QuerySet[StepRecord]:
    return StepRecord.objects.filter(job=job).select_related("value").order_by("pk")


def step_result(step: StepRecord) -> Any:
    """Return what the step came to, from wherever it is kept."""
    return step.value.content if step.value else step.result


def runs_of(tenant_id: UUID, filters: Mapping[str, Any]) -> QuerySet[RunRecord]:
    """Return the tenant's runs; `filters` may name a mode, an endpoint, an outcome and a source_id."""
    return RunRecord.objects.filter(tenant_id=tenant_id, **filters)


def downshifts_of(job_id: UUID) -> list[Mapping[str, str]]:
    """Return the calls that a cheaper tier answered, over all of the job's attempts, in order."""
    runs = RunRecord.objects.filter(source_id=job_id, downshifts__isnull=False).order_by("attempt")
    return [downshift for found in runs.values_list("downshifts", flat=True) for downshift in found or ()]


def downshift_counts() -> list[DownshiftCount]:
    return list(DownshiftCount.objects.order_by("endpoint", "wanted", "used", "why"))
