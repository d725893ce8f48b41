"""Shards in the database: claim, checkpoint, complete; the one writer of a shard's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import BigIntegerField, Count, F, Func, Q, QuerySet, Sum, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Coalesce, Greatest

from invocation.domain import paces
from invocation.domain.batches import BATCH_OPEN, SHARD_EDGES, BatchState, Pause, ShardMove, ShardState, Slice
from invocation.domain.budgets import SHARERS, Sharers, part_of
from invocation.domain.errors import StaleMove
from invocation.domain.losses import ANY
from invocation.domain.places import Ranges
from invocation.domain.states import Edge
from invocation.domain.tiers import Downshift
from invocation.gateways.database import BATCH
from invocation.models import Batch, BatchRow, Shard
from invocation.services import batch_moves, batch_pauses, batches, downshifts
from quota.domain.budgets import NONE, Spending
from quota.domain.ledger import LedgerLine
from quota.services import ledger

FAILURES_OF_A_BATCH = 3
"""Failures in a row of one shard, not of its rows: a disk that is full, a manifest that is gone."""
WAIT_OF_A_BROKEN_SHARD = timedelta(seconds=1)
"""It doubles with each failure in a row."""
MOST_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class ShardClaimed:
    """A shard that this process holds, with its batch and what the batch may still spend."""

    shard: Shard
    batch: Batch

    @property
    def slice(self) -> Slice:
        shard = self.shard
        return Slice(shard.index, shard.first_line, shard.rows, shard.offset, shard.inside, shard.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Finished rows since the last: the part that holds them is durable before this is committed."""

    part: str = ""
    """Nothing, where calls were made and no row came to its end."""
    position: int
    """All rows before it are finished."""
    ahead: Ranges = ()
    """Rows behind it that are finished all the same: whoever goes on from here leaves them out."""
    ended: int = 0
    """How many rows came to their end since, those that ran again included."""
    errors: Mapping[str, int]
    """Failed rows of the whole shard by their error's code, after this."""
    failed: Sequence[BatchRow] = ()
    """Rows that failed now for the first time."""
    redone: Sequence[BatchRow] = ()
    """Rows that had failed in an earlier round: how they ended now."""
    lines: Sequence[LedgerLine] = ()
    downshifts: Sequence[Downshift] = ()
    losses: int = 0
    """What is still held against the shard once these rows are finished: nothing, unless its rows run with care."""

    @property
    def ended_badly(self) -> int:
        """Return how many of the rows that came to their end did so by an error, those that ran again included."""
        return len(self.failed) + sum(1 for row in self.redone if row.error_code)


@dataclass(frozen=True, slots=True)
class Redo:
    """A row that failed in an earlier round, by its place in the shard, and with which code."""

    place: int
    code: str


def claim(shard_id: int, *, owner: UUID, most_losses: int = ANY) -> ShardClaimed | None:
    """Take a shard for a process; None if it is taken, done, cancelled or held, or if its tenant's plan has no more at work at once.

    None as well if more workers vanished under it than what runs in the process beside it allows.
    """
    edge = SHARD_EDGES[ShardMove.CLAIM]
    now = datetime.now(UTC)
    free = Shard.objects.filter(pk=shard_id, state__in=edge.sources, losses__lte=most_losses)
    batch = Batch.objects.filter(shards=shard_id, state__in=BATCH_OPEN).first()
    if batch is None or batch_pauses.is_held(batch):
        return None
    with transaction.atomic(using=BATCH):
        if batches.room_of_plan(batch.tenant_id) == 0:
            return None
        if not free.update(state=edge.target, owner=owner, attempt=F("attempt") + 1, started_at=Coalesce("started_at", now)):
            return None
        shard = Shard.objects.get(pk=shard_id)  # while its row is ours: read later it could be another's attempt, and pass for this one
    return ShardClaimed(shard, batch)


def to_redo(shard: Shard) -> list[Redo]:
    """Return the shard's failed rows of earlier rounds, which run again in this one, by their place."""
    failed = BatchRow.objects.filter(batch_id=shard.batch_id, shard=shard.index, round__lt=shard.round).exclude(error_code="")
    return [Redo(place, code) for place, code in failed.order_by("place").values_list("place", "error_code")]


def checkpoint(shard: Shard, block: Checkpoint) -> None:
    """Commit position, counts, errors and ledger together. Raises StaleMove if the attempt lost the shard; nothing is kept.

    What the lines say is spent is not set aside any more. Committed again, because nobody heard that it was, it changes nothing:
    a part and a line count once.
    """
    pace = paces.counted(shard.pace, block.ended, at=datetime.now(UTC))
    with transaction.atomic(using=BATCH):
        if block.part not in _counted_parts(shard):
            _count(shard, block, pace)
    shard.pace = pace


def _count(shard: Shard, block: Checkpoint, pace: paces.Pace) -> None:
    lines = ledger.append(block.lines)
    usd = sum((line.cost_usd for line in lines), Decimal(0))
    tokens_in, tokens_out = sum(line.input_tokens for line in lines), sum(line.output_tokens for line in lines)
    _hold(
        shard,
        ShardMove.CHECKPOINT,
        position=block.position,
        done=block.position + sum(end - first for first, end in block.ahead),
        pace=pace,
        ahead=block.ahead,
        errors=block.errors,
        failed_rows=sum(block.errors.values()),
        tried=F("tried") + block.ended,
        tried_failed=F("tried_failed") + block.ended_badly,
        input_tokens=F("input_tokens") + tokens_in,
        output_tokens=F("output_tokens") + tokens_out,
        cost_usd=F("cost_usd") + usd,
        calls=F("calls") + len(lines),
        reserved_usd=Greatest(F("reserved_usd") - usd, Decimal(0)),
        reserved_tokens=Greatest(F("reserved_tokens") - (tokens_in + tokens_out), 0),
        reserved_calls=Greatest(F("reserved_calls") - len(lines), 0),
        **(_progress(block) if block.part else {}),
    )
    BatchRow.objects.bulk_create(block.failed)
    _redo(shard, block.redone)
    downshifts.count_rows([(shard.batch.endpoint, each) for each in block.downshifts])


def _counted_parts(shard: Shard) -> Sequence[str]:
    """Lock the shard and return the parts that count, once whoever commits on a connection that was cut has ended. Raises StaleMove."""
    held = _held(shard, SHARD_EDGES[ShardMove.CHECKPOINT]).select_for_update(no_key=True)
    parts: Sequence[str] | None = held.values_list("parts", flat=True).first()
    if parts is None:
        raise _lost(shard)
    return parts


def _progress(block: Checkpoint) -> Mapping[str, Any]:
    """Join the block's part; rows of the shard are finished, and what went wrong before is not held against it any more."""
    return {"parts": _Joined(F("parts"), Value([block.part], models.JSONField())), "failures": 0, "losses": block.losses}


class _Joined(Func):
    """One JSON list behind another."""

    arg_joiner = " || "
    template = "%(expressions)s"
    output_field = models.JSONField()


_OF_ITS_CALLS = ("input_tokens", "output_tokens", "cost_usd")


def _redo(shard: Shard, rows: Sequence[BatchRow]) -> None:
    """Write how rows that had failed ended now: each is still one row of the table, of this round."""
    if rows:
        BatchRow.objects.bulk_create(rows, update_conflicts=True, unique_fields=["batch", "row_id"], update_fields=_OF_A_RUN)


_OF_A_RUN = ("run_id", "round", "outcome", "error_code", "agent", "traceparent", *_OF_ITS_CALLS, "duration_ms", "at")


def book_late(shard: Shard, lines: Sequence[LedgerLine]) -> None:
    """Book what a block's calls cost though the block does not count: its batch was ended, or it could not be committed.

    Joins nothing: the attempt that made the calls books them, once, unless another has taken the shard since.
    """
    with transaction.atomic(using=BATCH):
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
    """End a shard whose last row is committed; one with rows left, or to run again meanwhile, is handed back. Raises StaleMove."""
    edge = SHARD_EDGES[ShardMove.COMPLETE]
    ended = _held(shard, edge).filter(round=shard.round, position=F("rows"))
    if not ended.update(state=edge.target, owner=None, losses=0, finished_at=datetime.now(UTC), **batch_moves.RESERVES_NOTHING):
        hand_back(shard)


def hand_back(shard: Shard, *, short: Spending = NONE, wait: timedelta | None = None) -> None:
    """Return a shard at its checkpoint because others have their turn, or its rows must wait: nothing stays set aside. Raises StaleMove.

    `short` is what its next row could take and the tenant's day does not hold any more; `wait` for how long it is not sent again.
    """
    due_at = datetime.now(UTC) + wait if wait else None
    waits = {"owner": None, "sent_at": None, "due_at": due_at, "short_usd": short.usd, "short_tokens": short.tokens}
    _hold(shard, ShardMove.HAND_BACK, **waits, **batch_moves.RESERVES_NOTHING)


def cancel(shard: Shard) -> None:
    """End a shard whose batch has ended, behind its last checkpoint. Raises StaleMove."""
    _hold(shard, ShardMove.CANCEL, owner=None, finished_at=datetime.now(UTC), **batch_moves.RESERVES_NOTHING)


def hand_back_spent(shard: Shard, *, had: Spending, wait: timedelta) -> None:
    """Return a shard whose next row needs more than it `had`; where that was all there is, the batch is paused.

    Shards that stop together each had a part only: the last of them is sent again at once, before the others, and has it all.
    """
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.select_for_update(no_key=True).get(pk=shard.batch_id)
        is_last = not batch.shards.exclude(pk=shard.pk).filter(reserved_calls__gt=0).exists()
        hand_back(shard, wait=None if is_last else wait)
        if is_last and _left(batch, batch.shards.aggregate(**_GONE)).fits(had):
            batch_pauses.pause_spent(batch, now=datetime.now(UTC))


def hand_back_changed(shard: Shard, *, sentence: str) -> None:
    """Return a shard whose part of the manifest is not what was planned, and pause its batch until somebody has put the file back."""
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.select_for_update(no_key=True).get(pk=shard.batch_id)
        hand_back(shard)
        if batch.state == BatchState.RUNNING:
            batch_pauses.pause(batch.pk, Pause.MANIFEST_CHANGED, sentence, now=datetime.now(UTC))


def held_by(owner: UUID) -> list[Shard]:
    """Return the shards that a process holds, without what only their runs need: asked at each beat."""
    return list(Shard.objects.filter(owner=owner).defer(*Shard.LONG))


def return_broken_off(held: Sequence[Shard]) -> int:
    """Queue again, from its checkpoint, each shard that was held and is not run any more; what its last calls cost nobody knows."""
    edge = SHARD_EDGES[ShardMove.HAND_BACK]
    rights = [Shard.objects.filter(pk=shard.pk, attempt=shard.attempt, owner=shard.owner, state__in=edge.sources) for shard in held]
    return sum(right.update(state=edge.target, owner=None, sent_at=None, **batch_moves.LOSES_WHAT_IT_RESERVED) for right in rights)


def reserve(shard: Shard, *, keep: Spending = NONE, sharers: Sharers = SHARERS[0]) -> Spending:
    """Set aside what the shard may spend next, on top of what it must `keep`, and return both. Raises StaleMove.

    Each gets its part of what is neither spent nor set aside, under the batch's lock: all of them
    together can never spend more than the batch's caps, what a lost attempt may still spend included,
    and whoever comes first leaves as much for each of the `sharers` beside it.
    """
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.select_for_update(no_key=True).get(pk=shard.batch_id)
        Shard.objects.filter(pk=shard.pk).update(**batch_moves.RESERVES_NOTHING)
        sums = batch.shards.aggregate(**_GONE, others=Count("pk", filter=Q(state__in=OPEN, reserved_calls=0)))
        part = keep + part_of(_left(batch, sums) - keep, among=sharers.among(sums["others"]))
        _hold(shard, ShardMove.CHECKPOINT, reserved_usd=part.usd, reserved_tokens=part.tokens, reserved_calls=part.calls)
    return part


OPEN = (ShardState.QUEUED, ShardState.WORKING)


def _left(batch: Batch, sums: Mapping[str, Any]) -> Spending:
    """Return what of the batch's caps is neither spent, nor set aside, nor may have been spent by lost attempts."""
    gone = Spending(sums["usd"], int(sums["tokens"]), int(sums["calls"]))
    return Spending(batch.cost_cap_usd, batch.token_cap, batch.call_cap) - gone


def _whole(figures: CombinedExpression) -> Coalesce:
    return Coalesce(Sum(figures), 0, output_field=BigIntegerField())


_GONE: Mapping[str, Coalesce] = MappingProxyType(
    {
        "usd": Coalesce(Sum(F("cost_usd") + F("reserved_usd") + F("lost_usd")), Decimal(0)),
        "tokens": _whole(F("input_tokens") + F("output_tokens") + F("reserved_tokens") + F("lost_tokens")),
        "calls": _whole(F("calls") + F("reserved_calls") + F("lost_calls")),
    }
)


def charge(shard_id: int, *, owner: UUID, sentence: str) -> None:
    """Count a failure of the shard itself and queue it again from its checkpoint, later each time; the third in a row pauses its batch.

    `sentence` is for operators alone.
    """
    edge = SHARD_EDGES[ShardMove.HAND_BACK]
    held = Shard.objects.filter(pk=shard_id, owner=owner, state__in=edge.sources)
    with transaction.atomic(using=BATCH):
        # The batch before its shards, as whoever cancels it takes them.
        batch = Batch.objects.select_for_update(no_key=True).get(shards=shard_id)
        shard = held.select_for_update(no_key=True).first()
        if shard is None:
            return
        now = datetime.now(UTC)
        anew = {"owner": None, "sent_at": None, "due_at": now + WAIT_OF_A_BROKEN_SHARD * 2 ** min(shard.failures, MOST_DOUBLINGS)}
        held.update(state=edge.target, failures=shard.failures + 1, **anew, **batch_moves.RESERVES_NOTHING)
        if shard.failures + 1 >= FAILURES_OF_A_BATCH:
            batch_pauses.pause_broken(batch, broke=sentence, now=now)


def _hold(shard: Shard, move: ShardMove, **facts: object) -> None:
    edge = SHARD_EDGES[move]
    if not _held(shard, edge).update(state=edge.target, **facts):
        raise _lost(shard)


def _lost(shard: Shard) -> StaleMove:
    return StaleMove(f"Attempt {shard.attempt} no longer holds shard {shard.index} of batch {shard.batch_id}.")


def _held(shard: Shard, edge: Edge[ShardState]) -> QuerySet[Shard]:
    return Shard.objects.filter(pk=shard.pk, attempt=shard.attempt, owner=shard.owner, state__in=edge.sources)
