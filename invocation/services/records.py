"""The durable record of a run, the outbox and the ledger, written in one go by whoever finishes a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import structlog

from agents.services.execution import Performance
from invocation.domain.ids import new_id
from invocation.domain.tiers import Downshift
from invocation.gateways import statements
from invocation.services import downshifts
from invocation.services.runs import Carried
from quota.domain.ledger import LedgerLine

log = structlog.get_logger()
FINISHED = "run.finished"


class Finished(NamedTuple):
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
    evidence: bytes | None
    """JSON for a judge: input, facts, output, agent and mode."""
    downshifts: tuple[Downshift, ...] = ()


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
        downshifts=tuple(bill.downshifts),
        lines=tuple(bill.take()),
        evidence=_evidence(performance, asked, row) if performance else None,
    )


def evidence(told: Mapping[str, Any], *, run_id: UUID) -> bytes | None:
    """Return what a judge needs as JSON, or None where that is nothing that can be kept: a run is not lost for its judge."""
    try:
        return orjson.dumps(dict(told), default=dict)
    except TypeError as unfit:
        log.warning("evidence_not_kept", run_id=str(run_id), error=str(unfit))
        return None


def _evidence(performance: Performance, asked: Mapping[str, Any], row: Any) -> bytes | None:
    told = {"input": asked, "facts": performance.plan.facts, "output": performance.output.value, "agent": row.agent, "mode": row.mode}
    found = evidence(told, run_id=row.id)
    return None if found is None or b"\\u0000" in found else found


WRITE = """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(runs)s::jsonb) AS row (
        id uuid, run_id uuid, source text, source_id uuid, tenant_id uuid, endpoint text, agent text, mode text, attempt int,
        traceparent text, outcome text, error_code text, waited_ms bigint, started_at timestamptz, first_delta_ms bigint,
        duration_ms bigint, models_used jsonb, input_tokens bigint, output_tokens bigint, cost_usd numeric, downshifts jsonb, told jsonb)
),
told AS (
    INSERT INTO invocation_outbox (topic, run_id, data, at)
    SELECT %(topic)s, run_id, told, %(now)s::timestamptz FROM given WHERE told IS NOT NULL
)
INSERT INTO invocation_runrecord (
    id, tenant_id, endpoint, agent, mode, traceparent, source, source_id, attempt, outcome, error_code, started_at, finished_at,
    waited_ms, first_delta_ms, duration_ms, models_used, input_tokens, output_tokens, cost_usd, downshifts)
SELECT id, tenant_id, endpoint, agent, mode, traceparent, source, source_id, attempt, outcome, error_code, started_at, %(now)s,
    waited_ms, first_delta_ms, duration_ms, models_used, input_tokens, output_tokens, cost_usd, downshifts
FROM given
"""


def write(runs: Sequence[Finished], *, now: datetime) -> None:
    """Write record and outbox of each run, inside the caller's transaction; the ledger's lines are the caller's to book."""
    if runs:
        given = orjson.dumps([_columns(run) for run in runs], default=str).decode()
        statements.rows(WRITE, {"runs": given, "topic": FINISHED, "now": now})
        downshifts.count([(run.endpoint, each) for run in runs for each in run.downshifts])


def _columns(run: Finished) -> dict[str, Any]:
    """Return the run as WRITE reads it. `told` is what a judge needs, where there is something to judge."""
    told = None if run.evidence is None else orjson.Fragment(run.evidence)
    return {
        "id": new_id(),
        "run_id": run.run_id,
        "source": run.source,
        "source_id": run.source_id,
        "tenant_id": run.tenant_id,
        "endpoint": run.endpoint,
        "agent": run.agent,
        "mode": run.mode,
        "attempt": run.attempt,
        "traceparent": run.traceparent,
        "outcome": run.outcome,
        "error_code": run.error_code,
        "waited_ms": max(0, round(run.waited.total_seconds() * 1000)),
        "started_at": run.started_at,
        "first_delta_ms": run.first_delta_ms,
        "duration_ms": run.duration_ms,
        "models_used": run.models_used,
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "cost_usd": run.cost_usd,
        "downshifts": [each.as_json() for each in run.downshifts] or None,
        "told": told,
    }
