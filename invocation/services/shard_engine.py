"""Runs a shard on the loop: its rows concurrently, in blocks, each block durable before it counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from itertools import islice, takewhile
from pathlib import Path
from uuid import UUID

import structlog
from django.db import DatabaseError

from agents.domain.errors import DayExceeded, RunError
from agents.domain.values import Request, Terms
from invocation.domain.batches import Row, part_name
from invocation.domain.errors import StaleMove
from invocation.domain.ids import new_id
from invocation.gateways import declared, parquet
from invocation.gateways.database import off_loop, patiently
from invocation.models import Batch
from invocation.services import batches, manifests, shards
from invocation.services.accounts import Unshared
from invocation.services.bills import Bill
from invocation.services.finished_rows import FinishedRow, columns, record
from invocation.services.no_waits import NoWaits
from invocation.services.runs import Assignment, AttemptJournal, Carried, Clock, Silent, Surroundings, carry_out, is_retryable
from invocation.services.shards import Checkpoint, ShardClaimed
from quota.domain.budgets import NONE, Budget
from quota.domain.ledger import LedgerLine, ParentKind

log = structlog.get_logger()
ROWS_AT_ONCE = 16
ROWS_OF_A_BLOCK = 64
RETRY_WAIT_S = 0.5
HOLD_LOOK_S = 0.5


class _Next(Enum):
    """What follows a row's try."""

    FINISH = auto()
    TRY_AGAIN = auto()
    LEAVE = auto()
    """Nothing is recorded: whoever takes the shard up again runs the row."""


class ShardEngine:
    """Holds the shards of this process. `run` may be called on the loop only."""

    def __init__(self, *, owner: UUID) -> None:
        self._owner = owner
        self._draining = False
        self._running: list[str] = []
        self._idle = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def running(self) -> frozenset[str]:
        return frozenset(self._running)

    def stop(self, run_ids: Sequence[str]) -> None:
        """A cancelled batch is found at the next checkpoint; rows are short."""

    async def run(self, shard_id: int) -> str:
        """Run a shard to its end, or to a checkpoint if the process drains; never raises, so that the chord's body runs.

        A shard that breaks, as when the disk is full, is tried again; the third time its batch fails.
        """
        self._running.append(str(shard_id))
        self._idle.clear()
        try:
            return await self._run(shard_id)
        except StaleMove as stale:
            log.warning("fenced_out", shard_id=shard_id, detail=stale.detail)
            return "stale"
        except Exception as error:
            log.exception("shard_broke", shard_id=shard_id)
            return await self._broke(shard_id, error)
        finally:
            self._running.remove(str(shard_id))
            if not self._running:
                self._idle.set()

    async def _broke(self, shard_id: int, error: Exception) -> str:
        """Charge the shard, unless the database is away: then the heartbeat gives it back."""
        try:
            await off_loop(shards.charge, shard_id, owner=self._owner, sentence=f"{type(error).__name__}: {error}"[:300])
        except DatabaseError:
            log.warning("shard_not_charged", shard_id=shard_id)
        return "failed"

    async def drain(self, grace: timedelta) -> None:
        """Stop each shard at its next checkpoint."""
        self._draining = True
        try:
            async with asyncio.timeout(grace.total_seconds()):
                if self._running:
                    await self._idle.wait()
        except TimeoutError:
            log.warning("drain_cut_short", shards=self.in_flight)

    async def _run(self, shard_id: int) -> str:
        claimed = await off_loop(shards.claim, shard_id, owner=self._owner)
        if claimed is None:
            return "taken"
        work = _Shard(claimed, is_draining=lambda: self._draining)
        while block := work.next_rows():
            await work.finish(block)
            if self._draining or work.is_held:
                await off_loop(shards.hand_back, claimed.shard, short=work.short)
                return batches.HELD if work.is_held else "handed_back"
        await off_loop(shards.complete, claimed.shard)
        return "completed"


class _Shard:
    """One claimed shard, from its checkpoint on."""

    def __init__(self, claimed: ShardClaimed, *, is_draining: Callable[[], bool]) -> None:
        self._is_draining = is_draining
        self.shard = claimed.shard
        self.batch = claimed.batch
        self.endpoint = declared.book().by_label[claimed.batch.endpoint]
        self.is_held = False
        self.short = NONE
        self._looking = asyncio.Lock()
        self._looked = time.monotonic()
        self._rows = manifests.read(Path(claimed.batch.manifest), claimed.slice, skip=claimed.shard.position)

    def next_rows(self) -> list[Row]:
        return list(islice(self._rows, ROWS_OF_A_BLOCK))

    async def finish(self, block: Sequence[Row]) -> None:
        """Run a block's rows and make them count. Raises StaleMove if the shard was taken from us.

        When the process drains, or admission is held, rows that have not begun are left out; so is a row
        that the tenant's spent day refused, or whose provider stayed away. Whatever is finished is kept, and stays
        paid for once. The calls of a block that cannot count are booked all the same: they were made.
        """
        allowance = Budget(await off_loop(shards.reserve, self.shard))
        before = await off_loop(shards.finished_ahead, self.shard, [row.id for row in block])
        bills: list[Bill] = []
        try:
            if done := await self._done([row for row in block if row.id not in before], allowance, bills):
                kept = before | {each.row.id for each in done}
                passed = len(list(takewhile(lambda row: row.id in kept, block)))
                await off_loop(self._commit, done, passed, len(kept) - passed, _open(bills))
            elif lines := _open(bills):
                await patiently(shards.book_late, self.shard, lines)
        except Exception:
            await patiently(shards.book_late, self.shard, _open(bills))
            raise

    async def _done(self, rows: Sequence[Row], allowance: Budget, bills: list[Bill]) -> list[FinishedRow]:
        slots = asyncio.Semaphore(ROWS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._row(row, slots, allowance, bills)) for row in rows]
        return [finished for task in tasks if (finished := task.result())]

    def _commit(self, done: Sequence[FinishedRow], passed: int, ahead: int, lines: Sequence[LedgerLine]) -> None:
        """Make what is finished count, rows behind one that was put off as well; what was paid for the others is booked with it."""
        shard = self.shard
        name = part_name(shard=shard.index, position=shard.position, attempt=shard.attempt)
        now = datetime.now(UTC)
        parquet.write_part(Path(self.batch.output), name, [columns(self.batch, each, now=now) for each in done])
        block = Checkpoint(
            part=name,
            rows=[record(self.batch, shard, each, now=now) for each in done],
            lines=lines,
            failed=sum(each.error is not None for each in done),
            passed=passed,
            ahead=ahead,
            downshifts=[each for row in done for each in row.bill.downshifts],
        )
        shards.checkpoint(shard, block)

    async def _row(self, row: Row, slots: asyncio.Semaphore, allowance: Budget, bills: list[Bill]) -> FinishedRow | None:
        async with slots:
            if not await self._may_begin():
                return None
            bill, run_id = Bill(), new_id()
            bills.append(bill)
            budgets = (Budget(self.endpoint.budgets.spending), allowance)
            number, end = 1, time.monotonic() + self.batch.row_latency_ms / 1000
            while True:
                carried = await self._carried(row, run_id, bill, budgets)
                follows = self._next(carried.error, number, bill, end) if carried.error else _Next.FINISH
                if follows is _Next.LEAVE:
                    return None
                if carried.error is None or follows is _Next.FINISH:
                    return FinishedRow(row, run_id, carried, bill, number)
                await asyncio.sleep(_wait(carried.error, number))
                number += carried.error.is_own

    def _next(self, error: RunError, number: int, bill: Bill, end: float) -> _Next:
        """Say what follows a try. Charged with its own errors only, a row has its tries; for others it waits as long as a row may take.

        After that the whole shard waits, whose rows would meet the same: it goes back to its queue, and the sweep sends it again.
        """
        if isinstance(error, DayExceeded) and not bill.models:
            self.is_held, self.short = True, bill.short
            return _Next.LEAVE
        if not is_retryable(error) or (error.is_own and number >= self.endpoint.policy.tries):
            return _Next.FINISH
        if error.is_own:
            return _Next.TRY_AGAIN
        self.is_held = self.is_held or time.monotonic() >= end
        return _Next.LEAVE if self.is_held or self._is_draining() else _Next.TRY_AGAIN

    async def _may_begin(self) -> bool:
        """Rows ask one after another: none begins once one before it was told to wait. A hold is looked for twice a second."""
        async with self._looking:
            if not self.is_held and time.monotonic() - self._looked > HOLD_LOOK_S:
                self.is_held = await off_loop(_is_held, self.batch)
                self._looked = time.monotonic()
            return not self.is_held and not self._is_draining()

    async def _carried(self, row: Row, run_id: UUID, bill: Bill, budgets: tuple[Budget, ...]) -> Carried:
        around = Surroundings(journal=AttemptJournal(), sink=Silent(), watcher=Silent(), waits=NoWaits(), bill=bill, clock=Clock())
        return await carry_out(self._assignment(row, run_id, budgets), around)

    def _assignment(self, row: Row, run_id: UUID, budgets: tuple[Budget, ...]) -> Assignment:
        batch = self.batch
        cap = self.endpoint.budgets.cost_usd
        return Assignment(
            run_id=run_id,
            endpoint=self.endpoint,
            agent=batch.agent,
            request=Request(input=row.input),
            terms=Terms(tenant=str(batch.tenant_id), latency_budget_ms=batch.row_latency_ms, cost_cap_usd=float(cap)),
            tenant_id=batch.tenant_id,
            parent_kind=ParentKind.BATCH,
            parent_id=str(batch.id),
            budgets=budgets,
            account=Unshared(),
            patience=timedelta(milliseconds=batch.row_latency_ms),
        )


def _open(bills: Sequence[Bill]) -> list[LedgerLine]:
    return [line for bill in bills for line in bill.open_lines]


def _is_held(batch: Batch) -> bool:
    """A database that is away holds nothing: what was paid for is still to be committed."""
    try:
        return batches.is_held(batch)
    except DatabaseError:
        return False


def _wait(error: RunError, number: int) -> float:
    """Return the seconds before a row's next try: doubling, never shorter than the provider's own word."""
    asked = error.retry_after.total_seconds() if error.retry_after else 0.0
    return max(asked, RETRY_WAIT_S * float(2 ** (number - 1)))
