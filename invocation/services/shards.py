"""Shards in the database: claim, checkpoint, complete; the one writer of a shard's state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Coalesce

from invocation.domain.batches import SHARD_EDGES, ShardMove, Slice
from invocation.domain.errors import StaleMove
from invocation.models import Batch, BatchRow, Shard
from quota.domain.ledger import LedgerLine
from quota.services import ledger


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


def claim(shard_id: int, *, owner: UUID) -> ShardClaimed | None:
    """Take a shard for a process; None if it is taken, done or cancelled."""
    edge = SHARD_EDGES[ShardMove.CLAIM]
    now = datetime.now(UTC)
    free = Shard.objects.filter(pk=shard_id, state__in=edge.sources)
    if not free.update(state=edge.target, owner=owner, attempt=F("attempt") + 1, started_at=Coalesce("started_at", now)):
        return None
    shard = Shard.objects.select_related("batch").get(pk=shard_id)
    return ShardClaimed(shard, shard.batch)


def checkpoint(shard: Shard, block: Checkpoint) -> None:
    """Commit a block's position, counts, rows and ledger together. Raises StaleMove if the attempt lost the shard; nothing is kept."""
    with transaction.atomic():
        _hold(
            shard,
            ShardMove.CHECKPOINT,
            position=F("position") + len(block.rows),
            failed_rows=F("failed_rows") + block.failed,
            input_tokens=F("input_tokens") + sum(row.input_tokens for row in block.rows),
            output_tokens=F("output_tokens") + sum(row.output_tokens for row in block.rows),
            cost_usd=F("cost_usd") + sum((line.cost_usd for line in block.lines), Decimal(0)),
            parts=[*shard.parts, block.part],
        )
        BatchRow.objects.bulk_create(block.rows)
        ledger.append(block.lines)
    shard.parts = [*shard.parts, block.part]
    shard.position += len(block.rows)


def complete(shard: Shard) -> None:
    """End a shard whose last row is committed. Raises StaleMove."""
    _hold(shard, ShardMove.COMPLETE, owner=None, finished_at=datetime.now(UTC))


def hand_back(shard: Shard) -> None:
    """Return a shard at its checkpoint because the process drains. Raises StaleMove."""
    _hold(shard, ShardMove.HAND_BACK, owner=None)


def held_by(owner: UUID) -> list[Shard]:
    return list(Shard.objects.filter(owner=owner))


def return_broken_off(held: Sequence[Shard]) -> int:
    """Queue again, from its checkpoint, each shard that was held and is not run any more."""
    edge = SHARD_EDGES[ShardMove.HAND_BACK]
    rights = [Shard.objects.filter(pk=shard.pk, attempt=shard.attempt, owner=shard.owner, state__in=edge.sources) for shard in held]
    return sum(right.update(state=edge.target, owner=None) for right in rights)


def spent(batch_id: UUID) -> Decimal:
    """Return what a batch's committed rows have cost."""
    total: Decimal = Shard.objects.filter(batch_id=batch_id).aggregate(total=Coalesce(Sum("cost_usd"), Decimal(0)))["total"]
    return total


def _hold(shard: Shard, move: ShardMove, **facts: object) -> None:
    edge = SHARD_EDGES[move]
    held = Shard.objects.filter(pk=shard.pk, attempt=shard.attempt, owner=shard.owner, state__in=edge.sources)
    if not held.update(state=edge.target, **facts):
        raise StaleMove(f"Attempt {shard.attempt} no longer holds shard {shard.index} of batch {shard.batch_id}.")
