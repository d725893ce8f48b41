"""Journals: the finished steps of jobs, each kept with what it cost, by the attempt that holds the job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef

from agents.domain.steps import Step, StepKey, as_kept
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence
from invocation.models import StepRecord, StepValue
from invocation.services.charges import charge
from quota.domain.ledger import LedgerLine

LARGE = 8 * 1024
"""A result of more bytes is kept once for all steps of the tenant that have it."""

# The lock that an update takes keeps the value from being dropped until the step that names it is committed.
KEEP_VALUE = """
INSERT INTO invocation_stepvalue AS value (tenant_id, sha256, content)
SELECT tenant_id, %s, %s::jsonb FROM invocation_job WHERE id = %s
ON CONFLICT (tenant_id, sha256) DO UPDATE SET sha256 = value.sha256
RETURNING id
"""


def steps_of(job_ids: Sequence[UUID]) -> dict[UUID, dict[StepKey, Step]]:
    """Return the finished steps of these jobs, each result as its first run was handed it: jsonb has its own order of keys."""
    found: dict[UUID, dict[StepKey, Step]] = {}
    for record in StepRecord.objects.filter(job_id__in=job_ids).select_related("value"):
        result = record.value.content if record.value else record.result
        found.setdefault(record.job_id, {})[StepKey(record.name, record.occurrence)] = Step(as_kept(result), record.fingerprint)
    return found


def record_step(fence: Fence, key: StepKey, step: Step, lines: Sequence[LedgerLine]) -> None:
    """Keep a finished step and what it cost, in one transaction. Raises StaleMove if the attempt no longer holds the job."""
    now = datetime.now(UTC)
    try:
        with transaction.atomic():
            must_hold(fence)
            StepRecord.objects.create(
                job_id=fence.job_id,
                name=key.name,
                occurrence=key.occurrence,
                fingerprint=step.fingerprint,
                attempt=fence.attempt,
                at=now,
                **_placed(fence, step.result),
            )
            charge(fence, lines)
    except IntegrityError:
        raise StaleMove(f"Step {key.name} of job {fence.job_id} was recorded by another attempt.") from None


def must_hold(fence: Fence) -> None:
    """Lock the job's row for this attempt, so that no rescue can come between. Raises StaleMove."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM invocation_job WHERE id = %s AND attempt = %s AND owner = %s FOR NO KEY UPDATE",
            [fence.job_id, fence.attempt, fence.owner],
        )
        if not cursor.rowcount:
            raise StaleMove(f"Attempt {fence.attempt} no longer holds job {fence.job_id}.")


def drop(job_ids: Sequence[UUID]) -> int:
    """Forget the journals of ended jobs, with the values that no other step names; return how many steps went.

    The values are locked first: a step that is recorded meanwhile either is seen, or makes its value anew.
    """
    with transaction.atomic():
        steps = StepRecord.objects.filter(job_id__in=job_ids)
        named = set(steps.exclude(value=None).values_list("value_id", flat=True))
        dropped, _ = steps.delete()
        list(StepValue.objects.select_for_update().filter(pk__in=named).order_by("pk").values_list("pk"))
        StepValue.objects.filter(~Exists(StepRecord.objects.filter(value=OuterRef("pk"))), pk__in=named).delete()
    return dropped


def _placed(fence: Fence, result: Any) -> dict[str, Any]:
    """Return the columns that hold a result: a small one stands in its step, a large one is named by its content."""
    content = json.dumps(result, sort_keys=True).encode()
    if len(content) <= LARGE:
        return {"result": result}
    with connection.cursor() as cursor:
        cursor.execute(KEEP_VALUE, [hashlib.sha256(content).hexdigest(), content.decode(), fence.job_id])
        return {"value_id": cursor.fetchone()[0]}
