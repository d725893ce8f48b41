"""Batches: writing one down, sending its waves, cancelling or failing it; what becomes of its dataset is in gathering.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import DateTimeField, F, Func, Q, QuerySet

from agents.domain.errors import Cause
from invocation.domain.batches import (
    SHARD_EDGES,
    BatchMove,
    BatchState,
    Publication,
    ShardMove,
    ShardState,
)
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fault
from invocation.domain.losses import is_of_its_shard, wait
from invocation.domain.manifests import Planned
from invocation.gateways.database import BATCH
from invocation.models import Batch, Process, Shard
from invocation.services import batch_moves
from quota.domain.classes import PriorityClass
from quota.selectors import terms_of

COMPLETED_TOPIC = "batch.completed"
TELL = "Tell whoever runs this the batch's id; open the batch again once that is mended."
SHARDS_OF_A_TENANT = 0x54A2
"""The class of the advisory locks under which a tenant's shards are counted."""


def accept(columns: Mapping[str, Any], *, now: datetime) -> Batch:
    """Write a batch whose manifest is still to be read."""
    return Batch.objects.create(**columns, state=BatchState.PLANNING, rows=0, manifest_sha256="", created_at=now)


def accept_planned(columns: Mapping[str, Any], plan: Planned, *, now: datetime) -> Batch:
    """Write a batch whose manifest was read, with its shards."""
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.create(**columns, **_of(plan), state=BatchState.PLANNED, created_at=now)
        _insert_shards(batch, plan)
    return batch


def plan(batch: Batch, plan: Planned) -> None:
    """End the planning of a batch by who holds it: its shards are written. Raises StaleMove if it is no longer theirs."""
    with transaction.atomic(using=BATCH):
        if not batch_moves.move(batch, BatchMove.PLAN, by=Q(planner=batch.planner), planner=None, planning=None, **_of(plan)):
            raise StaleMove(f"Batch {batch.pk} is no longer planned here.")
        _insert_shards(batch, plan)


def refuse(batch: Batch, fault: Mapping[str, Any], *, now: datetime) -> None:
    """Fail a batch whose manifest cannot be run, by who holds its planning. Raises StaleMove, as `plan` does."""
    held = Q(planner=batch.planner, state=BatchState.PLANNING)
    if not batch_moves.move(batch, BatchMove.FAIL, by=held, fault=dict(fault), planner=None, planning=None, finished_at=now):
        raise StaleMove(f"Batch {batch.pk} is no longer planned here.")


def _of(plan: Planned) -> dict[str, Any]:
    return {"rows": plan.rows, "manifest_sha256": plan.sha256, "manifest_bytes": plan.length}


def _insert_shards(batch: Batch, plan: Planned) -> None:
    Shard.objects.bulk_create(
        [
            Shard(
                batch=batch,
                index=part.index,
                first_line=part.first,
                offset=part.offset,
                inside=part.inside,
                sha256=part.sha256,
                rows=part.rows,
                state=ShardState.QUEUED,
            )
            for part in plan.slices
        ]
    )


@dataclass(frozen=True, slots=True)
class Wave:
    """Shards of one batch that were given slots together, and are to be sent."""

    batch_id: UUID
    shards: Sequence[int]
    number: int


def begin_wave(batch_id: UUID, shards: Sequence[int], *, now: datetime) -> Wave:
    """Note that these shards are on their way, in the transaction that gave them their slots; the first starts the batch."""
    batch = Batch.objects.get(pk=batch_id)
    batch_moves.move(batch, BatchMove.START, started_at=now, running_since=now)
    Batch.objects.filter(pk=batch_id).update(wave=F("wave") + 1, wave_at=now)
    Shard.objects.filter(pk__in=shards, state=ShardState.QUEUED).update(sent_at=now)
    return Wave(batch_id, shards, batch.wave + 1)


def room_of_plan(tenant_id: UUID) -> int | None:
    """Return how many shards more the tenant's plan lets be at work at once; None is no cap.

    Joins the caller's transaction, until whose end nobody else counts this tenant's shards.
    """
    terms = terms_of([tenant_id]).get(tenant_id)
    cap = terms.in_flight.get(PriorityClass.P3) if terms else None
    if cap is None:
        return None
    with connections[BATCH].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [SHARDS_OF_A_TENANT, tenant_id.int & 0x7FFFFFFF])
    return max(0, cap - Shard.objects.filter(batch__tenant_id=tenant_id, owner__isnull=False).count())


def cancel(batch_id: UUID, *, now: datetime) -> None:
    """End a batch: shards stop within a second or two, and what is finished by then is published as a part.

    Raises StaleMove if it has ended.
    """
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.select_for_update(no_key=True).get(pk=batch_id)
        if not batch_moves.move(batch, BatchMove.CANCEL, pause=None, finished_at=now, **batch_moves.TRIED_NEVER):
            raise StaleMove(f"Batch {batch_id} is {batch.state} and cannot be cancelled.")
        _cancel_shards(batch, now=now)


def publish(batch_id: UUID, publication: Publication, *, round: int, scores: Mapping[str, Any]) -> bool:  # noqa: A002  (a batch's own word)
    """Say what the scores made of a completed batch, and say whether they could: not if it has gone on to another round since.

    Undecided it stays completed, with the reason among its `scores`. Told twice it changes nothing.
    """
    judged = Batch.objects.filter(pk=batch_id, state=BatchState.COMPLETED, round=round)
    return bool(judged.update(publication=publication, scores=dict(scores)))


def fail(batch: Batch, fault: Fault, *, now: datetime) -> None:
    """End a batch that cannot go on; finished rows stay in staging. Joins the caller's transaction, which holds the batch already."""
    if batch_moves.move(batch, BatchMove.FAIL, fault=fault.as_json(), pause=None, finished_at=now):
        _cancel_shards(batch, now=now)


def rescue_shards(*, now: datetime) -> int:
    """Queue again, from their checkpoint, the shards of processes whose lease has ended; return how many.

    Each counts a loss, unless the database was away as the lease ended, and waits the longer the more there were since it last
    finished a row. What its attempt had set aside is lost to the batch. Where workers vanish though the first row was left
    out, its batch fails.
    """
    edge = SHARD_EDGES[ShardMove.RESCUE]
    held = Shard.objects.filter(owner__isnull=False, state__in=edge.sources)
    owners = {owner for owner in held.values_list("owner", flat=True) if owner}
    # Owners first: who registers and claims a shard in between is none of them.
    dead = owners - set(Process.objects.filter(pk__in=owners, lease_until__gt=now).values_list("id", flat=True))
    if not dead:
        return 0
    excused = set(Process.objects.filter(pk__in=dead, lease_until__lte=_UP_SINCE).values_list("id", flat=True))
    with transaction.atomic(using=BATCH):
        found = list(batch_moves.in_order(held.filter(owner__in=dead)))
        lost = [shard for shard in found if shard.owner not in excused]
        Shard.objects.filter(pk__in=[shard.pk for shard in found]).update(
            state=edge.target, owner=None, sent_at=None, **batch_moves.LOSES_WHAT_IT_RESERVED
        )
        for shard in lost:
            Shard.objects.filter(pk=shard.pk).update(losses=shard.losses + 1, due_at=now + wait(shard.losses + 1))
    for shard in lost:
        if is_of_its_shard(shard.losses + 1):
            _fail_lost(shard, now=now)
    return len(found)


_UP_SINCE = Func(function="pg_postmaster_start_time", output_field=DateTimeField())
"""Of the database of processes: a lease that ended before could not be renewed, and nobody died for that."""


@transaction.atomic(using=BATCH)
def _fail_lost(shard: Shard, *, now: datetime) -> None:
    batch = Batch.objects.select_for_update(no_key=True).get(pk=shard.batch_id)
    sentence = f"{shard.losses + 1} workers vanished in a row while they ran shard {shard.index}."
    fail(batch, Fault(code="lost_worker", sentence=sentence, cause=Cause.LOST_WORKER, remedy=TELL), now=now)


def _cancel_shards(batch: Batch, *, now: datetime) -> None:
    """Cancel what waits. Shards at work see that their batch has ended, keep what they have finished, and end by themselves."""
    _cancel(batch.shards.all(), now=now)


def cancel_left(*, now: datetime) -> None:
    """Cancel what went back to the queue of a batch that has ended: its worker vanished, or was let go for another reason just then."""
    ended = Batch.objects.filter(state__in=[BatchState.CANCELLED, BatchState.FAILED], gathered_at__isnull=True)
    with transaction.atomic(using=BATCH):
        _cancel(Shard.objects.filter(batch_id__in=list(ended.values_list("pk", flat=True))), now=now)


def _cancel(shards: QuerySet[Shard], *, now: datetime) -> None:
    edge = SHARD_EDGES[ShardMove.CANCEL]
    batch_moves.in_order(shards.filter(state=ShardState.QUEUED)).update(state=edge.target, finished_at=now)
