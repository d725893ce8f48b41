"""Records as operators find them: dead letters, batches, schedules and runs, of a tenant with a name."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from invocation.domain.batches import BatchState, ShardState
from invocation.domain.jobs import JobState
from invocation.domain.redrives import Match
from invocation.gateways import declared
from invocation.models import Batch, DeadLetter, Job, Redrive, Result, RunRecord, Schedule, Shard, StepRecord
from invocation.services import redrives, schedules
from invocation.services.redrives import Opening
from quota.models import Plan
from quota.services import keys
from tests.integration.invocation.rows import NOW, TRACE, a_job

FAULT = {"code": "provider_down", "sentence": "It told kim@example.org so.", "cause": "provider", "remedy": "Wait."}


def a_named_tenant(name: str = "") -> UUID:
    plan, _ = Plan.objects.get_or_create(name="pro", defaults={"requests_per_minute": 3000})
    tenant, _ = keys.create(tenant_name=name or f"tenant {uuid4()}", plan=plan.name, now=NOW)
    return tenant.pk


def a_dead_letter(**columns: Any) -> DeadLetter:
    job = a_job(JobState.FAILED, **{"error": FAULT, "cause": "provider", "failures": 3, **columns})
    StepRecord.objects.create(job=job, name="search_catalog", occurrence=0, fingerprint="f", result=["monster"], attempt=1, at=NOW)
    a_run(source_id=job.pk, tenant_id=job.tenant_id, outcome="failed", error_code="provider_down")
    return DeadLetter.objects.get(pk=job.pk)


def a_redrive(*, tenant_id: UUID | None = None, **terms: Any) -> Redrive:
    """Open a tenant's redrive of all its dead letters, or one of an operator's for other terms."""
    wanted = {"by": "a test", "reason": "the provider is back", "tenant_id": tenant_id, "match": Match(), **terms}
    return redrives.open_redrive(Opening(**wanted), now=NOW)


def a_completed_job(**columns: Any) -> Job:
    job = a_job(JobState.COMPLETED, **columns)
    Result.objects.create(job=job, output={"text": "Dear reader", "titles": [], "task": "letter"}, at=NOW)
    return job


def a_run(*, at: datetime = NOW, **columns: Any) -> RunRecord:
    return RunRecord.objects.create(
        **{
            "tenant_id": uuid4(),
            "endpoint": "personalize@1",
            "agent": "mangaassist@1",
            "mode": "async-queue",
            "traceparent": TRACE,
            "source": "job",
            "source_id": uuid4(),
            "attempt": 1,
            "outcome": "completed",
            "started_at": at,
            "finished_at": at,
            "waited_ms": 5,
            "first_delta_ms": 400,
            "duration_ms": 2_000,
            **columns,
        }
    )


def a_batch(*, tenant_id: UUID | None = None, shards: int = 4, started_at: datetime = NOW) -> Batch:
    """Make a running batch of ten rows a shard: the first shard done with one failed row, the others queued."""
    batch = Batch.objects.create(
        tenant_id=tenant_id or uuid4(),
        endpoint="enrich@1",
        agent="mangaassist@1",
        mode="batch-window",
        traceparent=TRACE,
        state=BatchState.RUNNING,
        manifest="titles.jsonl",
        manifest_sha256="0" * 64,
        output="batches/1",
        rows=10 * shards,
        cost_cap_usd=5,
        token_cap=1_000_000,
        call_cap=1_000,
        row_latency_ms=1_000,
        created_at=started_at,
        started_at=started_at,
        running_since=started_at,
    )
    Shard.objects.bulk_create([_a_shard(batch, index, started_at=started_at) for index in range(shards)])
    return batch


def _a_shard(batch: Batch, index: int, *, started_at: datetime) -> Shard:
    done: dict[str, Any] = {
        "position": 10,
        "done": 10,
        "failed_rows": 1,
        "started_at": started_at,
        "finished_at": started_at + timedelta(seconds=1),
    }
    state = ShardState.QUEUED if index else ShardState.COMPLETED
    return Shard(batch=batch, index=index, first_line=1 + 10 * index, offset=0, rows=10, state=state, **({} if index else done))


def a_schedule(*, tenant_id: UUID | None = None, name: str = "letters") -> Schedule:
    terms = schedules.ScheduleTerms(
        tenant_id=tenant_id or uuid4(),
        name=name,
        endpoint=declared.book().find("retention@1"),
        cron="30 7 * * 1-5",
        timezone="Europe/Berlin",
        input={"reader": "r-001"},
    )
    return schedules.create(terms, now=NOW)
