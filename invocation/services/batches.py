"""Batches: opening one, sending its waves, gathering it, cancelling it; the one writer of a batch's state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from invocation.domain import traces
from invocation.domain.batches import (
    BATCH_EDGES,
    BATCH_OPEN,
    SHARD_EDGES,
    BatchMove,
    BatchState,
    ShardMove,
    ShardState,
    slices,
)
from invocation.domain.budgets import Wish
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import StaleMove, TooManyItems
from invocation.domain.ids import new_id
from invocation.gateways import dispatch, objects, parquet
from invocation.models import Batch, Outbox, Process, Shard
from invocation.selectors import canaries
from invocation.selectors.admission import hold_on, live_slots
from invocation.services import manifests
from quota.domain.classes import PriorityClass
from quota.domain.days import DayLimits
from quota.selectors import terms_of
from quota.services import days, plans

log = structlog.get_logger()

P3 = str(PriorityClass.P3)
COMPLETED_TOPIC = "batch.completed"
MOST_SHARDS = 256
SHARDS_OF_A_WAVE = 64
SHARDS_OF_A_TENANT = 0x54A2
"""The class of the advisory locks under which a tenant's shards are counted."""
WAVE_TRUSTED = timedelta(seconds=10)
HELD = "held"
"""What a shard says that went back to its queue because its rows must wait."""
"""A wave sent longer ago of which no shard is at work has lost its messages, or its callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOpening:
    """A request for a batch. `source` is the manifest's path, `wish` what binds it below the endpoint's own ceilings."""

    tenant_id: UUID
    endpoint: Endpoint
    source: Path
    shards: int = MOST_SHARDS
    wish: Wish = field(default_factory=Wish)
    traceparent: str = ""


def open_batch(opening: BatchOpening, *, now: datetime) -> Batch:
    """Accept a batch durably, its shards planned. Raises ManifestInvalid, naming the line, or TooManyItems; then nothing was started."""
    checked = manifests.check(opening.source, opening.endpoint, day=plans.day_limits_now(opening.tenant_id))
    limit = opening.endpoint.limits.items
    if len(checked.offsets) > limit:
        raise TooManyItems(f"{len(checked.offsets)} rows; {opening.endpoint.label} takes {limit}.", found=len(checked.offsets), limit=limit)
    with transaction.atomic():
        batch = _insert(opening, checked, now=now)
        planned = slices(checked.offsets, min(opening.shards, MOST_SHARDS))
        Shard.objects.bulk_create(
            [
                Shard(
                    batch=batch,
                    index=part.index,
                    first_line=part.first,
                    offset=part.offset,
                    rows=part.rows,
                    state=ShardState.QUEUED,
                )
                for part in planned
            ]
        )
    return batch


def _insert(opening: BatchOpening, checked: manifests.Checked, *, now: datetime) -> Batch:
    endpoint, budgets, batch_id = opening.endpoint, opening.endpoint.budgets.within(opening.wish), new_id()
    return Batch.objects.create(
        id=batch_id,
        tenant_id=opening.tenant_id,
        endpoint=endpoint.label,
        agent=canaries.agent_for(endpoint, batch_id),
        mode=str(endpoint.mode),
        traceparent=opening.traceparent or traces.new(),
        state=BatchState.PLANNED,
        manifest=str(opening.source),
        manifest_sha256=checked.sha256,
        output=str(objects.inside(opening.tenant_id, f"batches/{batch_id}")),
        rows=len(checked.offsets),
        cost_cap_usd=budgets.cost_usd,
        token_cap=budgets.tokens,
        call_cap=budgets.model_calls,
        row_latency_ms=budgets.whole_ms,
        created_at=now,
    )


def next_wave(batch_id: UUID, *, now: datetime) -> int:
    """Send the shards that are left as a wave, or gather when none is; return how many were sent.

    Safe to call at any time by anyone: the wave's number is taken under a lock, a shard
    is claimed once, and PostgreSQL alone knows whether the batch is complete.
    """
    with transaction.atomic():
        batch = Batch.objects.select_for_update(no_key=True).get(pk=batch_id)
        if batch.state not in BATCH_OPEN or is_held(batch):
            return 0
        _move(batch, BatchMove.START, started_at=now)
        queued = batch.shards.filter(state=ShardState.QUEUED)
        may_go = queued.filter(_fits(days.left_of(batch.tenant_id, now=now)))
        left = list(may_go.order_by("index").values_list("pk", flat=True)[: _most_of_a_wave(batch.tenant_id)])
        if not left and queued.exists():
            Batch.objects.filter(pk=batch_id).update(wave_at=now)
            return 0
        wave = batch.wave + 1
        Batch.objects.filter(pk=batch_id).update(wave=wave, wave_at=now)
    if left:
        dispatch.send_wave(left, batch_id=batch_id, wave=wave)
    elif not batch.shards.exclude(state=ShardState.COMPLETED).exists():
        gather(batch_id, now=now)
    return len(left)


def _fits(left: DayLimits) -> Q:
    """Pick the shards whose next row is not known to need more than is left of the tenant's day: the others wait for the next."""
    money = Q() if left.usd is None else Q(short_usd__lte=left.usd)
    return money if left.tokens is None else money & Q(short_tokens__lte=left.tokens)


def _most_of_a_wave(tenant_id: UUID) -> int:
    room = room_of_plan(tenant_id)
    return SHARDS_OF_A_WAVE if room is None else min(room, SHARDS_OF_A_WAVE)


def room_of_plan(tenant_id: UUID) -> int | None:
    """Return how many shards more the tenant's plan lets be at work at once; None is no cap.

    Joins the caller's transaction, until whose end nobody else counts this tenant's shards.
    """
    terms = terms_of([tenant_id]).get(tenant_id)
    cap = terms.in_flight.get(PriorityClass.P3) if terms else None
    if cap is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [SHARDS_OF_A_TENANT, tenant_id.int & 0x7FFFFFFF])
    return max(0, cap - Shard.objects.filter(batch__tenant_id=tenant_id, state=ShardState.WORKING).count())


def after_wave(batch_id: UUID, wave: int, *, outcomes: Sequence[str] = ()) -> None:
    """The chord's body: go on, unless a newer wave is under way.

    A wave all of whose shards were told to wait is not sent again at once: the sweep does that, when its time has come.
    """
    if outcomes and set(outcomes) == {HELD}:
        return
    if Batch.objects.filter(pk=batch_id, wave=wave).exists():
        next_wave(batch_id, now=datetime.now(UTC))


def gather(batch_id: UUID, *, now: datetime) -> None:
    """Finish a batch all of whose shards are done, by one process at a time. Again after a crash it writes the same files."""
    with _alone(batch_id) as is_alone:
        batch = Batch.objects.get(pk=batch_id)
        if is_alone and (_move(batch, BatchMove.GATHER) or batch.state == BatchState.GATHERING):
            _gather(batch, now=now)


@contextmanager
def _alone(batch_id: UUID) -> Iterator[bool]:
    """Hold the batch's session advisory lock, if nobody else does: publishing takes longer than a transaction may."""
    number = batch_id.int >> 65
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


def _gather(batch: Batch, *, now: datetime) -> None:
    folder = Path(batch.output)
    files = [facts for shard in batch.shards.order_by("index") if (facts := parquet.compact(folder, shard.parts, shard=shard.index))]
    parquet.finish(folder, _facts(batch, files))
    with transaction.atomic():
        if _move(batch, BatchMove.COMPLETE, finished_at=now):
            told = {"batch_id": str(batch.id), "agent": batch.agent, "mode": batch.mode, "endpoint": batch.endpoint}
            Outbox.objects.create(topic=COMPLETED_TOPIC, run_id=batch.id, data=told, at=now)
    parquet.drop_staging(folder)


def _facts(batch: Batch, files: list[dict[str, Any]]) -> Mapping[str, Any]:
    published = {kind: [facts[kind] for facts in files if facts[kind]] for kind in ("results", "errors")}
    return {
        "batch": str(batch.id),
        "endpoint": batch.endpoint,
        "agent": batch.agent,
        "manifest_sha256": batch.manifest_sha256,
        "rows": batch.rows,
        "results": sum(file["rows"] for file in published["results"]),
        "errors": sum(file["rows"] for file in published["errors"]),
        "files": published,
    }


def cancel(batch_id: UUID, *, now: datetime) -> None:
    """End a batch; finished rows stay in staging, running shards stop at their next checkpoint. Raises StaleMove if it has ended."""
    with transaction.atomic():
        batch = Batch.objects.select_for_update(no_key=True).get(pk=batch_id)
        if not _move(batch, BatchMove.CANCEL, finished_at=now):
            raise StaleMove(f"Batch {batch_id} is {batch.state} and cannot be cancelled.")
        _cancel_shards(batch, now=now)


def fail(batch_id: UUID, *, sentence: str, now: datetime) -> None:
    """End a batch that cannot go on; finished rows stay in staging. Joins the caller's transaction, which holds the batch already."""
    batch = Batch.objects.get(pk=batch_id)
    fault = {"code": "shard_broke", "sentence": sentence, "remedy": "Mend what the sentence says; then open the batch again."}
    if _move(batch, BatchMove.FAIL, fault=fault, finished_at=now):
        _cancel_shards(batch, now=now)


def sweep(*, now: datetime) -> int:
    """Go on with batches whose wave lost its messages, its workers or its callback; one that cannot stops no other.

    While every slot is busy nothing is sent again: what waits is not lost.
    """
    rescue_shards(now=now)
    if live_slots(now=now)[P3] <= Shard.objects.filter(state=ShardState.WORKING).count():
        return 0
    stuck = Batch.objects.filter(state__in=BATCH_OPEN).exclude(wave_at__gt=now - WAVE_TRUSTED).exclude(shards__state=ShardState.WORKING)
    return sum(_nudge(batch, now=now) for batch in stuck)


def _nudge(batch: Batch, *, now: datetime) -> int:
    try:
        if batch.state != BatchState.GATHERING:
            return next_wave(batch.pk, now=now)
        Batch.objects.filter(pk=batch.pk).update(wave_at=now)
        dispatch.send_wave_end(batch.pk, wave=batch.wave)
    except dispatch.BrokerGone as gone:
        log.warning("broker_gone", error=str(gone), batch_id=str(batch.pk))
        return 0
    return 1


def rescue_shards(*, now: datetime) -> int:
    """Queue again, from their checkpoint, the shards of processes whose lease has ended."""
    edge = SHARD_EDGES[ShardMove.RESCUE]
    alive = Process.objects.filter(lease_until__gt=now).values("id")
    held = Shard.objects.filter(state__in=edge.sources, owner__isnull=False).exclude(owner__in=alive)
    with transaction.atomic():
        return _in_order(held).update(state=edge.target, owner=None)


def _cancel_shards(batch: Batch, *, now: datetime) -> None:
    edge = SHARD_EDGES[ShardMove.CANCEL]
    _in_order(batch.shards.filter(state__in=edge.sources)).update(state=edge.target, owner=None, finished_at=now)


def _in_order(shards: QuerySet[Shard]) -> QuerySet[Shard]:
    """Lock these shards by their ids before they are moved: of two who move several at once neither waits for the other for ever."""
    return shards.filter(pk__in=list(shards.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)))


def is_held(batch: Batch) -> bool:
    """Say whether the batch's rows wait: an operator holds admission, or the tenant's day is spent."""
    if days.is_spent(batch.tenant_id, now=datetime.now(UTC)):
        return True
    return hold_on(endpoint=batch.endpoint, agent=batch.agent, tenant_id=batch.tenant_id, priority_class=P3) is not None


def _move(batch: Batch, move: BatchMove, **facts: Any) -> bool:
    edge = BATCH_EDGES[move]
    return bool(Batch.objects.filter(pk=batch.pk, state__in=edge.sources).update(state=edge.target, **facts))
