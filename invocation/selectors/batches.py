"""What is read of batches: whose they are, their shards, and whether there are results. How far they are is in progress.py."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.db.models import QuerySet

from invocation.domain.batches import BATCH_ENDED, BatchState
from invocation.domain.errors import NoResult, NotFound, ResultNotReady
from invocation.models import Batch, Shard


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
