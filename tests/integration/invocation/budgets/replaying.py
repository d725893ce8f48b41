"""Jobs of the spender: queued, looked at, and queued again as if they had not ended."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from invocation.models import Job
from invocation.services.submission import submit
from quota.domain.budgets import NONE, Spending
from quota.models import LedgerEntry
from tests.integration.invocation.rows import a_submission, a_tenant


def spending(given: dict[str, Any], *, endpoint: str = "spender-job@1", tenant_id: UUID | None = None, **terms: Any) -> UUID:
    wanted = a_submission(tenant_id or a_tenant("house"), endpoint=endpoint, given=given, **terms)
    return submit(wanted, now=datetime.now(UTC)).job_id


def output(job: Job) -> dict[str, Any]:
    return dict(Job.objects.get(pk=job.pk).result.output or {})


def booked() -> Spending:
    """Return what the ledger says that all calls have used."""
    lines = LedgerEntry.objects.values_list("cost_usd", "input_tokens", "output_tokens")
    return sum((Spending(Decimal(usd), asked + answered, 1) for usd, asked, answered in lines), NONE)


def again(job_id: UUID, **columns: Any) -> None:
    """Queue an ended job once more; its journal is there."""
    Job.objects.get(pk=job_id).result.delete()
    Job.objects.filter(pk=job_id).update(state="queued", finished_at=None, **columns)
