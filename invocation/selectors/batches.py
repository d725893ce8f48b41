"""What is read of batches: progress, shards, and where the dataset is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Count, QuerySet, Sum

from invocation.domain.batches import BATCH_ENDED, BatchState, ShardState
from invocation.domain.errors import NoResult, NotFound, ResultNotReady
from invocation.models import Batch, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a batch is. `rate` is rows a second since its start, `eta_s` seconds; None while unknown."""

    rows_done: int
    rows_failed: int
    shards: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    model_calls: int
    cost_usd: Decimal
    rate: float | None
    eta_s: float | None


def batches_of(tenant_id: UUID, filters: Mapping[str, str]) -> QuerySet[Batch]:
    """Return the tenant's batches; `filters` may name a state and an endpoint."""
    return Batch.objects.filter(tenant_id=tenant_id, **filters)


def owned_batch(tenant_id: UUID, batch_id: UUID) -> Batch:
    """Return the tenant's batch. Raises NotFound, also for another tenant's."""
    found = Batch.objects.filter(pk=batch_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound(f"There is no batch {batch_id}.", field="id", found=str(batch_id))
    return found


def shards_of(batch: Batch) -> QuerySet[Shard]:
    return batch.shards.order_by("index")


def progress(batch: Batch, *, now: datetime) -> Progress:
    """Sum what the shards have committed."""
    counted = dict(batch.shards.values_list("state").annotate(Count("id")))
    sums = batch.shards.aggregate(
        done=Sum("position"),
        failed=Sum("failed_rows"),
        tokens_in=Sum("input_tokens"),
        tokens_out=Sum("output_tokens"),
        calls=Sum("calls"),
        usd=Sum("cost_usd"),
    )
    done = sums["done"] or 0
    rate = _rate(batch, done, now=now)
    return Progress(
        rows_done=done,
        rows_failed=sums["failed"] or 0,
        shards={str(state): counted.get(str(state), 0) for state in ShardState},
        input_tokens=sums["tokens_in"] or 0,
        output_tokens=sums["tokens_out"] or 0,
        model_calls=sums["calls"] or 0,
        cost_usd=sums["usd"] or Decimal(0),
        rate=rate,
        eta_s=_eta_s(batch, done, rate),
    )


def _rate(batch: Batch, done: int, *, now: datetime) -> float | None:
    if batch.started_at is None or not done:
        return None
    elapsed = ((batch.finished_at or now) - batch.started_at).total_seconds()
    return round(done / elapsed, 3) if elapsed > 0 else None


def _eta_s(batch: Batch, done: int, rate: float | None) -> float | None:
    if batch.state in BATCH_ENDED or not rate:
        return None
    return round((batch.rows - done) / rate, 1)


def must_have_results(batch: Batch) -> None:
    """Raise ResultNotReady before the dataset is whole, NoResult when it never will be."""
    if batch.state == BatchState.COMPLETED:
        return
    if batch.state in BATCH_ENDED:
        raise NoResult(f"Batch {batch.pk} is {batch.state}.", state=batch.state, error=batch.fault)
    raise ResultNotReady(f"Batch {batch.pk} is {batch.state}.", state=batch.state)


def any_batch(batch_id: UUID) -> Batch:
    """Return a batch whoever's it is, for operators. Raises NotFound."""
    found = Batch.objects.filter(pk=batch_id).first()
    if found is None:
        raise NotFound(f"There is no batch {batch_id}.", field="id", found=str(batch_id))
    return found
