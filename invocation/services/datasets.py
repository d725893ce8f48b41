"""A batch's dataset: where it lies, its columns, and reading it when it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from invocation.domain.batches import BATCH_ENDED, BatchState
from invocation.domain.columns import Column
from invocation.domain.columns import columns_of as columns_of_outputs
from invocation.domain.errors import NoResult
from invocation.gateways import objects, parquet
from invocation.gateways.stores import Store, answering, store_at
from invocation.models import Batch
from invocation.selectors.batches import must_have_results


def store_of(batch: Batch) -> Store:
    """Return the store of the batch's dataset."""
    return store_at(batch.output)


def columns_of(batch: Batch) -> Sequence[Column]:
    """Return the columns of the batch's dataset, as its endpoint's output schema was when it was opened."""
    return columns_of_outputs(batch.dataset.get("schema", {}))


def partition_by(batch: Batch) -> Sequence[str]:
    """Return by which columns its results are to be parted."""
    found: Sequence[str] = batch.dataset.get("partition_by", ())
    return found


def write_part(batch: Batch, name: str, values: Mapping[str, Sequence[Any]]) -> str:
    """Make finished rows, a list a column, durable in staging and return the part's name; written again it replaces itself."""
    return parquet.write_part(store_of(batch), name, values, columns_of(batch))


def rows(batch_id: UUID) -> Iterator[Mapping[str, Any]]:
    """Yield the result rows of a completed batch. Columns: see domain/columns.py; `input`, `facts`, `output` are JSON.

    Columns by which it is parted are left out: their values stand in `output` as well. Raises FileNotFoundError while it is not whole.
    """
    return parquet.rows(store_of(Batch.objects.get(pk=batch_id)))


def place_of(batch: Batch) -> str:
    """Return where the dataset lies, as its tenant is told."""
    return place_in(batch.tenant_id, batch.output)


def place_in(tenant_id: UUID, location: str) -> str:
    """Return a location as the tenant is told: a path below its part of the object store, or the location where it lies outside of it."""
    return location.removeprefix(f"{objects.store_of(tenant_id).location}/")


def part_of(batch: Batch) -> Mapping[str, Any] | None:
    """Return the manifest of what was finished of a batch that ended early, once that is published; None for every other."""
    if batch.state not in BATCH_ENDED - {BatchState.COMPLETED} or batch.gathered_at is None:
        return None
    try:
        return parquet.read_manifest(store_of(batch), mark=parquet.PARTIAL)
    except FileNotFoundError:
        return None


def drop_part(batch: Batch, name: str) -> None:
    """Take a part out of staging. What is gone already stays gone."""
    parquet.drop_part(store_of(batch), name)


def published(batch: Batch) -> Mapping[str, Any]:
    """Return the manifest of what is published of a batch: the whole dataset, or what was finished before it ended early.

    Raises ResultNotReady, NoResult where there will be none or it was taken away, and StoreUnavailable.
    """
    with answering("results"):
        part = part_of(batch)
        if part is not None:
            return part
        must_have_results(batch)
        try:
            return manifest(batch.pk)
        except FileNotFoundError:
            raise NoResult(f"The dataset of batch {batch.pk} is gone from its store.", state=batch.state, error=None) from None


def manifest(batch_id: UUID) -> Mapping[str, Any]:
    """Return what the dataset's manifest says. Raises FileNotFoundError while the dataset is not whole."""
    return parquet.read_manifest(store_of(Batch.objects.get(pk=batch_id)))
