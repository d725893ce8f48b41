"""What is read of jobs, their history, their journal and their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import takewhile
from typing import Any
from uuid import UUID

from django.db.models import Max, QuerySet

from invocation.domain.errors import NotFound
from invocation.domain.jobs import TERMINAL, JobState, Move, PutOffs
from invocation.models import BatchDownshiftCount, DownshiftCount, Job, JobEvent, RunRecord, StepRecord

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


RESTS = (f"job.{JobState.WAITING}", f"job.{JobState.INPUT_REQUIRED}")
MOST_RESTS = 1_000
"""Far more than a job is put off in a row before it is given up."""


def put_offs(job_id: UUID) -> PutOffs:
    """Return how often the job was put off since it last came further: by a step, or to a wait of its own."""
    moved = _rests(job_id).values_list("at", "data__move")[:MOST_RESTS]
    since = takewhile(lambda rest: rest[1] not in {Move.WAIT, Move.ASK}, moved)
    moments = [at for at, move in since if move == Move.PUT_OFF]
    return PutOffs(len(moments), moments[-1]) if moments else PutOffs()


def waits_in_a_row(job_id: UUID, reason: str) -> int:
    """Return how often the job waited for this reason since it last came further, or rested for another."""
    reasons = _rests(job_id).values_list("data__reason", flat=True)[:MOST_RESTS]
    return sum(1 for _ in takewhile(lambda each: each == reason, reasons))


def _rests(job_id: UUID) -> QuerySet[JobEvent]:
    """Return the job's rests since its last step, the latest first."""
    rests = JobEvent.objects.filter(job_id=job_id, type__in=RESTS).order_by("-seq")
    step_at = _last_step_at(job_id)
    return rests if step_at is None else rests.filter(at__gt=step_at)


def _last_step_at(job_id: UUID) -> datetime | None:
    latest: datetime | None = StepRecord.objects.filter(job_id=job_id).aggregate(at=Max("at"))["at"]
    return latest


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


def downshift_counts() -> Mapping[tuple[str, str, str, str], int]:
    """Return how often calls were stepped down, by endpoint, the tier asked for, the one used, and why."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for table in (DownshiftCount, BatchDownshiftCount):
        for endpoint, wanted, used, why, count in table.objects.values_list("endpoint", "wanted", "used", "why", "count"):
            found[endpoint, wanted, used, why] += count
    return dict(sorted(found.items()))
