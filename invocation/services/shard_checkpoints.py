"""Checkpoints of one shard: what is finished becomes a durable part, then counts; what it may spend is widened in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from invocation.domain.batches import part_name
from invocation.domain.budgets import SHARERS, Allowance, Sharers
from invocation.domain.errors import StaleMove
from invocation.domain.places import Places
from invocation.gateways.database import patiently, patiently_stored
from invocation.models import Shard
from invocation.services import batch_pauses, datasets, shards
from invocation.services.caution import Caution
from invocation.services.finished_rows import FinishedRow, columns, record
from invocation.services.shards import Checkpoint, ShardClaimed
from quota.domain.budgets import NONE
from quota.domain.ledger import LedgerLine

log = structlog.get_logger()
USUAL, *WIDENINGS = SHARERS


class Keeper:
    """Lives on the loop; one checkpoint or widening at a time."""

    def __init__(
        self,
        claimed: ShardClaimed,
        *,
        places: Places,
        redo: Mapping[int, str],
        allowance: Allowance,
        lines: list[LedgerLine],
        caution: Caution,
    ) -> None:
        shard = claimed.shard
        self._caution = caution
        self._shard, self._batch, self._places, self._redo = shard, claimed.batch, places, redo
        self._allowance, self._lines = allowance, lines
        self._part = allowance.limit
        self._errors = Counter(shard.errors)
        self._count = len(shard.parts)
        self._one = asyncio.Lock()
        self._widened = 0

    @property
    def parts(self) -> int:
        """Return how many parts the shard has."""
        return self._count

    async def keep(self, done: Sequence[FinishedRow]) -> bool:
        """Make what is finished count, and what was called for; say whether the batch was paused because too much fails.

        While the database or the store is away this waits, and the rows go on: what they have paid for is not thrown away for that.
        Raises StaleMove if the shard was taken from us, and what a disk raises that stays full; the lines are to be booked late then.
        """
        lines = self._lines.copy()
        if not done and not lines:
            return False
        async with self._one:
            block = self._block(done, lines)
            del self._lines[: len(lines)]
            try:
                await patiently_stored(self._commit, done, block)
            except BaseException:
                self._lines[:0] = lines
                raise
            self._allowance.commit(sum((line.spending for line in lines), NONE))
            self._count += bool(done)
            self._caution.kept([each.place for each in done])
            self._widened = 0
            if self._allowance.is_low(of=self._part):
                await self._reserve(USUAL)
        failed = any(each.error for each in done)
        return failed and await patiently(batch_pauses.pause_if_failing, self._batch.pk, now=datetime.now(UTC))

    async def widen(self, seen: int) -> bool:
        """Set more aside for the shard's calls, unless another call had that done since `seen`; say whether there is more."""
        async with self._one:
            while self._allowance.widenings == seen and self._widened < len(WIDENINGS):
                self._widened += 1
                await self._reserve(WIDENINGS[self._widened - 1])
            return self._allowance.widenings > seen

    async def _reserve(self, sharers: Sharers) -> None:
        limit = await patiently(shards.reserve, self._shard, keep=self._allowance.limit, sharers=sharers)
        self._part = limit - (self._allowance.limit - self._allowance.remaining)
        self._allowance.widen(limit)

    def _block(self, done: Sequence[FinishedRow], lines: Sequence[LedgerLine]) -> Checkpoint:
        """Say what the checkpoint changes. Nothing is changed but what this process remembers of the shard."""
        now = datetime.now(UTC)
        self._places.add(each.place for each in done if each.place not in self._redo)
        self._errors.subtract(self._redo[each.place] for each in done if each.place in self._redo)
        self._errors.update(each.error.code for each in done if each.error)
        redone = [each for each in done if each.place in self._redo]
        failed = [each for each in done if each.error and each.place not in self._redo]
        return Checkpoint(
            part=part_name(shard=self._shard.index, number=self._count, attempt=self._shard.attempt) if done else "",
            position=self._places.position,
            ahead=self._places.ahead,
            ended=len(done),
            errors={code: count for code, count in self._errors.items() if count > 0},
            failed=[record(self._batch, self._shard, each, now=now) for each in failed],
            redone=[record(self._batch, self._shard, each, now=now) for each in redone],
            lines=lines,
            downshifts=[shift for each in done for shift in each.bill.downshifts],
            losses=self._caution.losses_behind([each.place for each in done]),
        )

    def _commit(self, done: Sequence[FinishedRow], block: Checkpoint) -> None:
        """First the part, then what says that it counts: a crash in between leaves a part that nobody reads. Again it changes nothing.

        Where the shard was taken from us the part goes again: staging may have been dropped before it was written.
        """
        if done:
            datasets.write_part(self._batch, block.part, columns(self._batch, done, now=datetime.now(UTC)))
        try:
            shards.checkpoint(self._shard, block)
        except StaleMove:
            if done:
                self._take_back(block.part)
            raise

    def _take_back(self, part: str) -> None:
        """Drop a part, unless it counts, as where nobody heard that it was committed. It has the attempt's number: it is nobody else's."""
        if Shard.objects.filter(pk=self._shard.pk, parts__contains=[part]).exists():
            return
        try:
            datasets.drop_part(self._batch, part)
        except OSError as away:
            log.warning("part_not_taken_back", batch_id=str(self._batch.pk), part=part, error=str(away))
