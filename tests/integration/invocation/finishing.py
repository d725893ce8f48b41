"""What the engine hands to the services when a run has ended, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence
from invocation.models import Job
from invocation.services import attempts, results
from invocation.services.attempts import Completion
from invocation.services.records import Finished
from quota.domain.classes import PriorityClass
from quota.domain.ledger import LedgerLine, ParentKind
from quota.domain.prices import Price
from tests.integration.invocation.rows import TRACE


def a_line(job: Job) -> LedgerLine:
    return LedgerLine(
        call_id=uuid4(),
        tenant_id=job.tenant_id,
        endpoint=job.endpoint,
        mode=job.mode,
        priority_class=PriorityClass.P1,
        run_id=job.pk,
        parent_kind=ParentKind.JOB,
        parent_id=str(job.pk),
        provider="offline",
        model="gearbox-offline-standard",
        input_tokens=10,
        output_tokens=5,
        cached_tokens=0,
        price=Price(input=Decimal(80), output=Decimal(40), cached=Decimal(8)),
        cost_usd=Decimal("0.001"),
        estimated=False,
        at=datetime.now(UTC),
    )


def a_run(job: Job, *, outcome: str = "completed") -> Finished:
    return Finished(
        run_id=job.pk,
        source="job",
        source_id=job.pk,
        tenant_id=job.tenant_id,
        endpoint=job.endpoint,
        agent=job.agent,
        mode=job.mode,
        attempt=job.attempt,
        traceparent=TRACE,
        outcome=outcome,
        error_code="",
        waited=timedelta(),
        started_at=datetime.now(UTC),
        first_delta_ms=None,
        duration_ms=10,
        models_used=("gearbox-offline-standard",),
        input_tokens=10,
        output_tokens=5,
        cost_usd=Decimal("0.001"),
        lines=(a_line(job),),
        evidence=b'{"input": {}, "facts": {}, "output": {}, "agent": "mangaassist@1", "mode": "async-queue"}',
    )


def fence_of(job: Job) -> Fence:
    return Fence(str(job.pk), job.attempt, str(job.owner))


def complete(fence: Fence, output: Mapping[str, Any], run: Finished) -> None:
    """Complete one job as its engine does. Raises StaleMove."""
    if not all(attempts.complete([Completion(fence, results.in_row(results.written(output)), run)])):
        raise StaleMove("held by another")
