"""Where a batch's dataset is to lie and how it is to be parted, decided when the batch is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from invocation.domain import partitions
from invocation.domain.columns import columns_of
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import OutputRefused
from invocation.domain.locations import plain
from invocation.domain.partitions import BadPartition
from invocation.gateways import objects
from invocation.gateways.stores import S3_SCHEME, BadPath, answering, relative
from invocation.selectors import grants

USUAL_FOLDER = "batches"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputWish:
    """What was asked of the output: a folder below which the dataset gets one of its own, and the columns that part the results."""

    uri: str = ""
    partition_by: tuple[str, ...] = ()


def columns_for(tenant_id: UUID, endpoint: Endpoint, wish: OutputWish, *, batch_id: UUID) -> dict[str, Any]:
    """Return what the batch's row keeps of it. Raises OutputRefused and StoreUnavailable."""
    try:
        partitions.chosen(wish.partition_by, columns_of(endpoint.output_schema))
    except BadPartition as bad:
        raise OutputRefused(f"output: {bad}", field="partition_by", found=list(wish.partition_by)) from None
    return {
        "output": _location(tenant_id, wish.uri, batch_id),
        "dataset": {"schema": dict(endpoint.output_schema), "partition_by": list(wish.partition_by)},
    }


def _location(tenant_id: UUID, uri: str, batch_id: UUID) -> str:
    locate = _granted if uri.startswith(S3_SCHEME) else _own
    try:
        return locate(tenant_id, uri, batch_id)
    except BadPath as bad:
        raise OutputRefused(f"output: {bad}", field="uri", found=uri) from None


def _own(tenant_id: UUID, uri: str, batch_id: UUID) -> str:
    store, path = objects.store_of(tenant_id), f"{uri or USUAL_FOLDER}/{batch_id}"
    with answering("uri"):
        if not store.can_hold(path):
            raise OutputRefused(f"output: a file lies where {uri!r} is to be a folder.", field="uri", found=uri)
    return store.at(path)


def _granted(tenant_id: UUID, uri: str, batch_id: UUID) -> str:
    place = plain(uri)
    if place is None or not grants.granted(tenant_id, place, writes=True):
        raise OutputRefused(
            f"output: {uri!r} is not yours to write: ask an administrator to grant it, or give a path below your folder.",
            field="uri",
            found=uri,
        )
    return f"{S3_SCHEME}{relative(place.removeprefix(S3_SCHEME))}/{batch_id}"
