"""Handing on what the outbox holds: taken by one consumer only, gone with the consumer's own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from invocation.models import Batch, Outbox, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that happened to a run or a batch; `tenant_id` is None and `endpoint` empty if that is on record no more."""

    run_id: UUID
    tenant_id: UUID | None
    endpoint: str
    data: Any
    at: datetime


def take(topic: str, *, most: int) -> list[Told]:
    """Take up to `most` of a topic, oldest first, and delete them, inside the caller's transaction.

    What another consumer is about to take is passed over; after a rollback everything is there again.
    """
    rows = list(Outbox.objects.select_for_update(skip_locked=True).filter(topic=topic).order_by("id")[:most])
    Outbox.objects.filter(pk__in=[row.pk for row in rows]).delete()
    owners = _owners({row.run_id for row in rows})
    return [_told(row, owners) for row in rows]


Owner = tuple[UUID | None, str]


def _told(row: Outbox, owners: Mapping[UUID, Owner]) -> Told:
    tenant_id, endpoint = owners.get(row.run_id, (None, ""))
    return Told(run_id=row.run_id, tenant_id=tenant_id, endpoint=endpoint, data=row.data, at=row.at)


def _owners(ids: set[UUID]) -> Mapping[UUID, Owner]:
    """Return whose runs these are; what is no run is a batch."""
    runs = _by_id(RunRecord.objects.filter(source_id__in=ids).values_list("source_id", "tenant_id", "endpoint"))
    rest = ids - runs.keys()
    return {**runs, **_by_id(Batch.objects.filter(pk__in=rest).values_list("pk", "tenant_id", "endpoint"))}


def _by_id(rows: Iterable[tuple[UUID, UUID, str]]) -> dict[UUID, Owner]:
    return {found: (tenant_id, endpoint) for found, tenant_id, endpoint in rows}
