"""Shards in the database: claim, checkpoint, complete; the one writer of a shard's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

from django.db import transaction
from django.db.models import BigIntegerField, Count, F, Q, Sum
from django.db.models.functions import Coalesce

from invocation.domain.batches import SHARD_EDGES, ShardMove, ShardState, Slice
from invocation.domain.budgets import part_of
from invocation.domain.errors import StaleMove
from invocation.domain.tiers import Downshift
from invocation.models import Batch, BatchRow, Shard
from invocation.services import batches, downshifts
from quota.domain.budgets import NONE, Spending
from quota.domain.ledger import LedgerLine
from quota.services import ledger

FAILURES_OF_A_BATCH = 3
"""Failures in a row of one shard, not of its rows: a disk that is full, a manifest that is gone."""


@dataclass(frozen=True, slots=True)
class ShardClaimed:
    """A shard that this process holds, with its batch and what the batch may still spend."""

    shard: Shard
    batch: Batch

    @property
    def slice(self) -> Slice:
        return Slice(self.shard.index, self.shard.first_line, self.shard.rows, self.shard.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A block of finished rows: the part that holds them is durable before this is committed."""

    part: str
    rows: Sequence[BatchRow]
    lines: Sequence[LedgerLine]
    failed: int
    downshifts: Sequence[Downshift] = ()
    passed: int
    """How far the position moves: over all rows up to the first that is not finished."""
    ahead: int = 0
    """Rows behind it that are finished all the same: whoever goes on from here leaves them out."""


def claim(shard_id: int, *, owner: UUID) -> ShardClaimed | None:
    """Take a shard for a process; None if it is taken, done, cancelled or held, or if its tenant's plan has no more at work at once."""
    edge = SHARD_EDGES[ShardMove.CLAIM]
    now = datetime.now(UTC)
    free = Shard.objects.filter(pk=shard_id, state__in=edge.sources)
    batch = Batch.objects.filter(shards=shard_id).first()
    if batch is None or batches.is_held(batch):
        return None
    with transaction.atomic():
        if batches.room_of_plan(batch.tenant_id) == 0:
            return None
        if not free.update(state=edge.target, owner=owner, attempt=F("attempt") + 1, started_at=Coalesce("started_at", now)):
            return None
    return ShardClaimed(Shard.objects.get(pk=shard_id), batch)


def finished_ahead(shard: Shard, row_ids: Sequence[str]) -> frozenset[str]:
    """Return which of these rows are finished already, though they lie behind the shard's position."""
    if not shard.ahead:
        return frozenset()
    return frozenset(BatchRow.objects.filter(batch_id=shard.batch_id, row_id__in=row_ids).values_list("row_id", flat=True))


def checkpoint(shard: Shard, block: Checkpoint) -> None:
    """Commit a block's position, counts, rows and ledger together. Raises StaleMove if the attempt lost the shard; nothing is kept."""
    with transaction.atomic():
        _hold(
            shard,
            ShardMove.CHECKPOINT,
            position=F("position") + block.passed,
            failed_rows=F("failed_rows") + block.failed,
            input_tokens=F("input_tokens") + sum(row.input_tokens for row in block.rows),
            output_tokens=F("output_tokens") + sum(row.output_tokens for row in block.rows),
            cost_usd=F("cost_usd") + sum((line.cost_usd for line in block.lines), Decimal(0)),
            calls=F("calls") + len(block.lines),
            parts=[*shard.parts, block.part],
            **_RESERVES_NOTHING,
            ahead=block.ahead,
            failures=0,
        )
        BatchRow.objects.bulk_create(block.rows)
        ledger.append(block.lines)
        downshifts.count([(shard.batch.endpoint, each) for each in block.downshifts])
    shard.parts = [*shard.parts, block.part]
    shard.position += block.passed
    shard.ahead = block.ahead


def book_late(shard: Shard, lines: Sequence[LedgerLine]) -> None:
    """Book what a block's calls cost though the block does not count: its batch was ended, or it could not be committed.

    Joins nothing: the attempt that made the calls books them, once, unless another has taken the shard since.
    """
    with transaction.atomic():
        if (
            Shard.objects.select_for_update(no_key=True)
            .filter(pk=shard.pk, attempt=shard.attempt)
            .exclude(state=ShardState.QUEUED)
            .exists()
        ):
            booked = ledger.append(lines)
            spent = sum((line.spending for line in booked), NONE)
            Shard.objects.filter(pk=shard.pk).update(
                cost_usd=F("cost_usd") + spent.usd,
                calls=F("calls") + spent.calls,
                input_tokens=F("input_tokens") + sum(line.input_tokens for line in booked),
                output_tokens=F("output_tokens") + sum(line.output_tokens for line in booked),
            )


def complete(shard: Shard) -> None:
    """End a shard whose last row is committed. Raises StaleMove."""
    _hold(shard, ShardMove.COMPLETE, owner=None, finished_at=datetime.now(UTC))


def hand_back(shard: Shard, *, short: Spending = NONE) -> None:
    """Return a shard at its checkpoint because the process drains, or its rows must wait: nothing stays set aside. Raises StaleMove.

    `short` is what its next row could take and the tenant's day does not hold any more.
    """
    _hold(shard, ShardMove.HAND_BACK, owner=None, short_usd=short.usd, short_tokens=short.tokens, **_RESERVES_NOTHING)


def held_by(owner: UUID) -> list[Shard]:
    return list(Shard.objects.filter(owner=owner))


def return_broken_off(held: Sequence[Shard]) -> int:
    """Queue again, from its checkpoint, each shard that was held and is not run any more."""
    edge = SHARD_EDGES[ShardMove.HAND_BACK]
    rights = [Shard.objects.filter(pk=shard.pk, attempt=shard.attempt, owner=shard.owner, state__in=edge.sources) for shard in held]
    return sum(right.update(state=edge.target, owner=None) for right in rights)


def reserve(shard: Shard) -> Spending:
    """Set aside what the shard's next block may take and return it. Raises StaleMove.

    Each gets its part of what is neither spent nor set aside, under the batch's lock: all of them
    together can never spend more than the batch's caps, and whoever comes first leaves as much for each
    of the others that may be at work beside it.
    """
    with transaction.atomic():
        batch = Batch.objects.select_for_update(no_key=True).get(pk=shard.batch_id)
        Shard.objects.filter(pk=shard.pk).update(**_RESERVES_NOTHING)
        sums = batch.shards.aggregate(**_GONE, others=Count("pk", filter=Q(state__in=OPEN, reserved_calls=0)))
        gone = Spending(sums["usd"], int(sums["tokens"]), int(sums["calls"]))
        left = Spending(batch.cost_cap_usd, batch.token_cap, batch.call_cap) - gone
        part = part_of(left, among=min(sums["others"], batches.SHARDS_OF_A_WAVE))
        _hold(shard, ShardMove.CHECKPOINT, reserved_usd=part.usd, reserved_tokens=part.tokens, reserved_calls=part.calls)
    return part


OPEN = (ShardState.QUEUED, ShardState.WORKING)
_RESERVES_NOTHING: Mapping[str, int] = MappingProxyType({"reserved_usd": 0, "reserved_tokens": 0, "reserved_calls": 0})
_GONE: Mapping[str, Coalesce] = MappingProxyType(
    {
        "usd": Coalesce(Sum(F("cost_usd") + F("reserved_usd")), Decimal(0)),
        "tokens": Coalesce(Sum(F("input_tokens") + F("output_tokens") + F("reserved_tokens")), 0, output_field=BigIntegerField()),
        "calls": Coalesce(Sum(F("calls") + F("reserved_calls")), 0, output_field=BigIntegerField()),
    }
)


def charge(shard_id: int, *, owner: UUID, sentence: str) -> None:
    """Count a failure of the shard itself and queue it again from its checkpoint; the third fails its batch."""
    edge = SHARD_EDGES[ShardMove.HAND_BACK]
    held = Shard.objects.filter(pk=shard_id, owner=owner, state__in=edge.sources)
    with transaction.atomic():
        # The batch before its shards, as whoever cancels it takes them.
        Batch.objects.select_for_update(no_key=True).get(shards=shard_id)
        if held.update(state=edge.target, owner=None, failures=F("failures") + 1):
            shard = Shard.objects.get(pk=shard_id)
            if shard.failures >= FAILURES_OF_A_BATCH:
                batches.fail(shard.batch_id, sentence=sentence, now=datetime.now(UTC))


def _hold(shard: Shard, move: ShardMove, **facts: object) -> None:
    edge = SHARD_EDGES[move]
    held = Shard.objects.filter(pk=shard.pk, attempt=shard.attempt, owner=shard.owner, state__in=edge.sources)
    if not held.update(state=edge.target, **facts):
        raise StaleMove(f"Attempt {shard.attempt} no longer holds shard {shard.index} of batch {shard.batch_id}.")
