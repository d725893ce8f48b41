"""Runs the rows of one shard: each to its result or its error, with its tries and its waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from enum import Enum, auto
from typing import NamedTuple, Protocol
from uuid import UUID

from agents.domain.errors import BudgetExceeded, DayExceeded, ProviderRateLimited, RunError
from agents.domain.values import Request, Terms
from invocation.domain.batches import Row, Stop
from invocation.domain.budgets import Allowance
from invocation.domain.flow import Flow
from invocation.domain.ids import new_id
from invocation.gateways import declared
from invocation.models import Batch
from invocation.services.accounts import Unshared
from invocation.services.bills import Bill
from invocation.services.finished_rows import FinishedRow
from invocation.services.no_waits import NoWaits
from invocation.services.runs import Assignment, AttemptJournal, Carried, Clock, Silent, Surroundings, carry_out, is_retryable
from quota.domain.budgets import NONE, Budget, Spending
from quota.domain.ledger import LedgerLine, ParentKind

RETRY_WAIT_S = 0.5
SETTLE_WAIT_S = 0.25


class _Next(Enum):
    """What follows a row's try."""

    FINISH = auto()
    TRY_AGAIN = auto()
    WIDEN = auto()
    """Its call does not fit what the shard has set aside: try again once that is more."""
    LEAVE = auto()
    """Nothing is recorded: whoever takes the shard up again runs the row."""


class _Try(NamedTuple):
    """A try of a row as it failed: its number, what it may spend of its own, when it began, until when the row may wait."""

    number: int
    bill: Bill
    own: Spending
    began: float
    end: float
    seen: tuple[int, int]
    """How often the shard's allowance had been widened before, and how often a call had given back what it did not use."""


class Stopper(Protocol):
    def __call__(self, why: Stop, *, short: Spending = NONE) -> None: ...


class RowRuns:
    """What all rows of a shard share: endpoint, terms, allowance, the lines that their calls write, and the model's flow."""

    def __init__(
        self,
        batch: Batch,
        *,
        allowance: Allowance,
        widen: Callable[[int], Awaitable[bool]],
        lines: list[LedgerLine],
        flow: Flow,
        stopping: asyncio.Event,
        stop: Stopper,
    ) -> None:
        self._batch = batch
        self._endpoint = declared.book().by_label[batch.endpoint]
        self._allowance, self._widen, self._lines, self._flow = allowance, widen, lines, flow
        self._stopping, self._stop = stopping, stop
        self._own = self._endpoint.budgets.spending
        self._patience = timedelta(milliseconds=batch.row_latency_ms)
        cap = float(self._endpoint.budgets.cost_usd)
        self._terms = Terms(tenant=str(batch.tenant_id), latency_budget_ms=batch.row_latency_ms, cost_cap_usd=cap)
        self._parent_id = str(batch.id)

    async def run(self, place: int, row: Row) -> FinishedRow | None:
        """Return how the row ended; nothing where it is left for later, and the shard is to stop then."""
        bill, run_id = Bill(_open=self._lines), new_id()
        budgets, journal = (Budget(self._own), self._allowance), AttemptJournal()
        number, end = 1, time.monotonic() + self._patience.total_seconds()
        while True:
            began, seen = time.monotonic(), (self._allowance.widenings, self._allowance.settlements)
            carried = await self._carried(row, run_id, bill, budgets, journal)
            if carried.error is None:
                self._flow.answered()
                return FinishedRow(place, row, run_id, carried, bill, number, carried.clock.elapsed_ms())
            follows = await self._after(carried.error, _Try(number, bill, budgets[0].remaining, began, end, seen))
            if follows is _Next.FINISH:
                return FinishedRow(place, row, run_id, carried, bill, number, carried.clock.elapsed_ms())
            if follows is _Next.LEAVE:
                return None
            if follows is _Next.TRY_AGAIN:
                number += carried.error.is_own

    async def _after(self, error: RunError, tried: _Try) -> _Next:
        """Do what follows a try that failed, its wait included."""
        if isinstance(error, ProviderRateLimited):
            self._flow.refused(began=tried.began, at=time.monotonic())
        follows = self._next(error, tried)
        if follows is _Next.WIDEN:
            return await self._widened(tried)
        if follows is _Next.TRY_AGAIN and await self._waited(_wait(error, tried.number)):
            return _Next.LEAVE
        return follows

    async def _widened(self, tried: _Try) -> _Next:
        """Have more set aside; where there is none, wait for what calls under way do not use; where there are none, stop."""
        widenings, settlements = tried.seen
        if await self._widen(widenings):
            return _Next.WIDEN
        if self._allowance.holds_something or self._allowance.settlements > settlements:
            return _Next.LEAVE if await self._waited(SETTLE_WAIT_S) else _Next.WIDEN
        return self._leave(Stop.SPENT, short=self._allowance.remaining)

    def _next(self, error: RunError, tried: _Try) -> _Next:
        """Say what follows a try. Charged with its own errors only, a row has its tries; for others it waits as long as a row may take.

        After that the whole shard waits, whose rows would meet the same: it goes back to its queue, and is sent again.
        """
        if isinstance(error, BudgetExceeded) and self._allowance.is_narrower_than(tried.own):
            return _Next.WIDEN
        if isinstance(error, DayExceeded) and not tried.bill.models:
            return self._leave(Stop.HELD, short=tried.bill.short)
        if not is_retryable(error) or (error.is_own and tried.number >= self._endpoint.policy.tries):
            return _Next.FINISH
        if not error.is_own and time.monotonic() >= tried.end:
            return self._leave(Stop.AWAY)
        return _Next.LEAVE if self._stopping.is_set() and not error.is_own else _Next.TRY_AGAIN

    def _leave(self, why: Stop, *, short: Spending = NONE) -> _Next:
        self._stop(why, short=short)
        return _Next.LEAVE

    async def _waited(self, seconds: float) -> bool:
        """Wait so long before the next try; say whether the shard is to stop meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _carried(self, row: Row, run_id: UUID, bill: Bill, budgets: tuple[Budget, ...], journal: AttemptJournal) -> Carried:
        around = Surroundings(journal=journal, sink=_SILENT, watcher=_SILENT, waits=_NO_WAITS, bill=bill, clock=Clock())
        return await carry_out(self._assignment(row, run_id, budgets), around)

    def _assignment(self, row: Row, run_id: UUID, budgets: tuple[Budget, ...]) -> Assignment:
        return Assignment(
            run_id=run_id,
            endpoint=self._endpoint,
            agent=self._batch.agent,
            request=Request(input=row.input),
            terms=self._terms,
            tenant_id=self._batch.tenant_id,
            parent_kind=ParentKind.BATCH,
            parent_id=self._parent_id,
            budgets=budgets,
            account=_UNSHARED,
            patience=self._patience,
        )


_SILENT, _NO_WAITS, _UNSHARED = Silent(), NoWaits(), Unshared()


def _wait(error: RunError, number: int) -> float:
    """Return the seconds before a row's next try: doubling, never shorter than the provider's own word."""
    asked = error.retry_after.total_seconds() if error.retry_after else 0.0
    return max(asked, RETRY_WAIT_S * float(2 ** (number - 1)))
