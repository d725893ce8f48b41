"""What is read of batches: whose they are, their shards, and whether there are results. How far they are is in progress.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery, Sum

from invocation.domain.batches import BATCH_ENDED, BatchState
from invocation.domain.errors import NoResult, NotFound, ResultNotReady
from invocation.domain.jobs import without_broke
from invocation.models import Batch, CatalogTable, Shard


def batches_of(tenant_id: UUID, filters: Mapping[str, str]) -> QuerySet[Batch]:
    """Return the tenant's batches; `filters` may name a state and an endpoint."""
    return Batch.objects.filter(tenant_id=tenant_id, **filters)


def tables_of(tenant_id: UUID, filters: Mapping[str, Any]) -> QuerySet[CatalogTable]:
    """Return what the catalog lists of the tenant; `filters` may name an endpoint and a batch."""
    named = {{"batch": "batch_id"}.get(name, name): value for name, value in filters.items()}
    return CatalogTable.objects.filter(tenant_id=tenant_id, **named)


def owned_batch(tenant_id: UUID, batch_id: UUID) -> Batch:
    """Return the tenant's batch. Raises NotFound, also for another tenant's."""
    found = Batch.objects.filter(pk=batch_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound(f"There is no batch {batch_id}.", field="id", found=str(batch_id))
    return found


def shards_of(batch: Batch) -> QuerySet[Shard]:
    """Return the batch's shards in order, without what only their runs need."""
    return batch.shards.order_by("index").defer(*Shard.LONG)


def must_have_results(batch: Batch) -> None:
    """Raise ResultNotReady before the dataset is whole, NoResult when it never will be."""
    if batch.state == BatchState.COMPLETED:
        return
    if batch.state in BATCH_ENDED:
        raise NoResult(f"Batch {batch.pk} is {batch.state}.", state=batch.state, error=without_broke(batch.fault))
    raise ResultNotReady(f"Batch {batch.pk} is {batch.state}.", state=batch.state)


def newest(*, state: str | None, most: int) -> QuerySet[Batch]:
    """Return the newest batches, whoever's, in one query with what their shards have done."""
    found = Batch.objects.annotate(**sums(("done", "failed_rows"))).order_by("-pk")
    return (found.filter(state=state) if state else found)[:most]


def sums(columns: Sequence[str]) -> dict[str, Subquery]:
    """Return what adds up these columns over a batch's shards, as `sum_…`."""
    shards = Shard.objects.filter(batch_id=OuterRef("pk")).order_by().values("batch_id")
    return {f"sum_{name}": Subquery(shards.annotate(sum=Sum(name)).values("sum")) for name in columns}


def any_batch(batch_id: UUID) -> Batch:
    """Return a batch whoever's it is, for operators. Raises NotFound."""
    found = Batch.objects.filter(pk=batch_id).first()
    if found is None:
        raise NotFound(f"There is no batch {batch_id}.", field="id", found=str(batch_id))
    return found
