"""The durable record of a run, the outbox and the ledger, written in one go by whoever finishes a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from uuid6 import uuid7

from invocation.models import Outbox, RunRecord
from invocation.services.runs import Carried
from quota.domain.ledger import LedgerLine

FINISHED = "run.finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One finished attempt, taken from the loop to a database thread as plain values."""

    run_id: UUID
    source: str
    source_id: UUID
    tenant_id: UUID
    endpoint: str
    agent: str
    mode: str
    attempt: int
    traceparent: str
    outcome: str
    error_code: str
    waited: timedelta
    started_at: datetime
    first_delta_ms: int | None
    duration_ms: int
    models_used: tuple[str, ...]
    input_tokens: int
    output_tokens: int
    cost_usd: Any
    lines: tuple[LedgerLine, ...]
    evidence: Mapping[str, Any] | None


def finished(carried: Carried, *, row: Any, source: str, outcome: str, since: datetime, asked: Mapping[str, Any]) -> Finished:
    """Describe a finished attempt of a job or turn row; `since` is when it began to wait."""
    bill, clock = carried.bill, carried.clock
    performance = carried.performance
    return Finished(
        run_id=row.id,
        source=source,
        source_id=row.id,
        tenant_id=row.tenant_id,
        endpoint=row.endpoint,
        agent=row.agent,
        mode=row.mode,
        attempt=row.attempt,
        traceparent=row.traceparent,
        outcome=outcome,
        error_code=carried.error.code if carried.error else "",
        waited=clock.started_at - since,
        started_at=clock.started_at,
        first_delta_ms=clock.first_delta_ms,
        duration_ms=clock.elapsed_ms(),
        models_used=tuple(bill.models),
        input_tokens=bill.usage.input,
        output_tokens=bill.usage.output,
        cost_usd=bill.cost_usd,
        lines=tuple(bill.take()),
        evidence={"input": dict(asked), "facts": dict(performance.plan.facts), "output": dict(performance.output.value)}
        if performance
        else None,
    )


def write(runs: list[Finished], *, now: datetime) -> None:
    """Write record and outbox of each run, inside the caller's transaction; the ledger's lines are the caller's to book."""
    RunRecord.objects.bulk_create([_record(run, now=now) for run in runs])
    Outbox.objects.bulk_create(
        [
            Outbox(topic=FINISHED, run_id=run.run_id, data={**run.evidence, "agent": run.agent, "mode": run.mode}, at=now)
            for run in runs
            if run.evidence is not None
        ]
    )


def _record(run: Finished, *, now: datetime) -> RunRecord:
    return RunRecord(
        id=uuid7(),
        tenant_id=run.tenant_id,
        endpoint=run.endpoint,
        agent=run.agent,
        mode=run.mode,
        traceparent=run.traceparent,
        source=run.source,
        source_id=run.source_id,
        attempt=run.attempt,
        outcome=run.outcome,
        error_code=run.error_code,
        started_at=run.started_at,
        finished_at=now,
        waited_ms=max(0, round(run.waited.total_seconds() * 1000)),
        first_delta_ms=run.first_delta_ms,
        duration_ms=run.duration_ms,
        models_used=list(run.models_used),
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        cost_usd=run.cost_usd,
    )
