"""Handing on what the outbox holds: taken by one consumer only, gone with the consumer's own transaction.

What batches tell lies beside them, maybe in another database, and is taken over into the outbox first, each of it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from invocation.gateways.database import BATCH
from invocation.models import Batch, BatchOutbox, Outbox, OutboxReceipt, RunRecord

MOST_TAKEN_OVER = 500
SETTLED = timedelta(minutes=1)
"""By then whoever took something over has either deleted it where it came from, or died."""


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


def take_over(*, now: datetime) -> int:
    """Take what batches told over into the outbox; return how much. Opens transactions of its own: join it to none.

    A row is locked where it came from until it is in the outbox, with a receipt, and gone from there. After a crash in between
    it is found again beside its receipt, and only deleted. Two at once pass over what the other has.
    """
    with transaction.atomic(using=BATCH):
        news = list(BatchOutbox.objects.select_for_update(skip_locked=True).order_by("id")[:MOST_TAKEN_OVER])
        taken = _received(news, now=now) if news else 0
        BatchOutbox.objects.filter(pk__in=[each.pk for each in news]).delete()
    _forget([each.pk for each in news])
    _forget(_left_behind(now=now))
    return taken


@transaction.atomic
def _received(news: Sequence[BatchOutbox], *, now: datetime) -> int:
    known = set(OutboxReceipt.objects.filter(pk__in=[each.pk for each in news]).values_list("pk", flat=True))
    fresh = [each for each in news if each.pk not in known]
    OutboxReceipt.objects.bulk_create([OutboxReceipt(id=each.pk, at=now) for each in fresh])
    Outbox.objects.bulk_create([Outbox(topic=each.topic, run_id=each.run_id, data=each.data, at=each.at) for each in fresh])
    return len(fresh)


def _left_behind(*, now: datetime) -> list[UUID]:
    """Return receipts whose writer died, of what is gone from where it came."""
    old = list(OutboxReceipt.objects.filter(at__lt=now - SETTLED).values_list("pk", flat=True)[:MOST_TAKEN_OVER])
    there = set(BatchOutbox.objects.filter(pk__in=old).values_list("pk", flat=True)) if old else set()
    return [each for each in old if each not in there]


def _forget(receipts: Sequence[UUID]) -> None:
    if receipts:
        OutboxReceipt.objects.filter(pk__in=receipts).delete()


Owner = tuple[UUID | None, str]


def _told(row: Outbox, owners: Mapping[UUID, Owner]) -> Told:
    tenant_id, endpoint = owners.get(row.run_id, (None, ""))
    return Told(run_id=row.run_id, tenant_id=tenant_id, endpoint=endpoint, data=row.data, at=row.at)


def _owners(ids: set[UUID]) -> Mapping[UUID, Owner]:
    """Return whose runs these are; what is no run is a batch."""
    runs = _by_id(RunRecord.objects.filter(source_id__in=ids).values_list("source_id", "tenant_id", "endpoint"))
    rest = ids - runs.keys()
    if not rest:
        return runs
    return {**runs, **_by_id(Batch.objects.filter(pk__in=rest).values_list("pk", "tenant_id", "endpoint"))}


def _by_id(rows: Iterable[tuple[UUID, UUID, str]]) -> dict[UUID, Owner]:
    return {found: (tenant_id, endpoint) for found, tenant_id, endpoint in rows}
