"""Accounts: what a job or a turn may still spend, on its row; set aside there before a call, so that no other attempt spends it again.

A lost attempt, frozen or cut off, may go on for a while. What it set aside stays set aside: nobody
knows what its last calls cost. It sets nothing more aside, because the row names another holder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from agents.domain.errors import BudgetExceeded, CallsExceeded, TokensExceeded
from invocation.domain.budgets import part_of
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence
from invocation.gateways import statements
from invocation.gateways.database import off_loop
from invocation.models import Job, Turn
from quota.domain.budgets import Budget, Spending, must_fit
from quota.domain.errors import BudgetSpent
from quota.domain.resources import Resource

KINDS: Mapping[Resource, type[BudgetExceeded]] = MappingProxyType(
    {Resource.MONEY: BudgetExceeded, Resource.TOKENS: TokensExceeded, Resource.CALLS: CallsExceeded}
)

# Room and right stand in the UPDATE's own WHERE: of two hundred that ask at once, as many are let in as fit.
HOLD = """
UPDATE invocation_job SET held_usd = held_usd + %(usd)s, held_tokens = held_tokens + %(tokens)s, held_calls = held_calls + %(calls)s
WHERE id = %(id)s::uuid AND attempt = %(attempt)s AND owner = %(owner)s::uuid
  AND cost_cap_usd - spent_usd - lent_usd - held_usd >= %(usd)s
  AND token_cap - spent_tokens - lent_tokens - held_tokens >= %(tokens)s
  AND call_cap - spent_calls - lent_calls - held_calls >= %(calls)s
RETURNING TRUE
"""
RELEASE = """
UPDATE invocation_job SET held_usd = held_usd - %(usd)s, held_tokens = held_tokens - %(tokens)s, held_calls = held_calls - %(calls)s
WHERE id = %(id)s::uuid AND attempt = %(attempt)s AND owner = %(owner)s::uuid
"""
HOLD_OF_A_TURN = """
UPDATE invocation_turn SET held_usd = held_usd + %(usd)s, held_tokens = held_tokens + %(tokens)s, held_calls = held_calls + %(calls)s
WHERE id = %(id)s::uuid AND attempt = %(attempt)s AND owner = %(owner)s::uuid AND state = 'working'
RETURNING TRUE
"""
QUARTERS = 4
PAUSES_S = (0.02, 0.04, 0.08, 0.16, 0.32)
"""Between looks at a job's row whose room is set aside: a call that has ended gives back what it did not use with its step."""


class Account(Protocol):
    """Where a run's calls are set aside beside its own process."""

    is_durable: bool
    """What is held stays held until it is charged."""

    async def hold(self, amount: Spending) -> None:
        """Set the most of a call aside. Raises BudgetSpent."""

    async def release(self, amount: Spending) -> None:
        """Give back what no call will be charged for."""


class JobAccount:
    """The row of the job that an attempt holds. `hold` also raises StaleMove."""

    is_durable = True

    def __init__(self, fence: Fence) -> None:
        self._fence = fence

    async def hold(self, amount: Spending) -> None:
        """Set it aside. The run's own budget has room; where the row's has none yet because steps are just being stored, wait for that."""
        for pause_s in PAUSES_S:
            try:
                return await self._hold(amount)
            except BudgetSpent:
                if not await off_loop(may_come_back, self._fence, amount):
                    raise
            await asyncio.sleep(pause_s)
        return await self._hold(amount)

    async def _hold(self, amount: Spending) -> None:
        """Set it aside; where the run is cancelled meanwhile, whatever the thread has done is undone before that goes on."""
        holding = asyncio.ensure_future(off_loop(hold, self._fence, amount))
        try:
            await asyncio.shield(holding)
        except asyncio.CancelledError:
            await _to_its_end(self._undo(holding, amount))
            raise

    async def release(self, amount: Spending) -> None:
        """Give it back, also where the run is cancelled meanwhile: handed back or parked, the job has another holder."""
        await _to_its_end(off_loop(release, self._fence, amount))

    async def _undo(self, holding: asyncio.Future[None], amount: Spending) -> None:
        await asyncio.wait([holding])
        if holding.exception() is None:
            await off_loop(release, self._fence, amount)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await the work however often the caller is cancelled meanwhile; then be cancelled, whatever came of the work."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    error = task.exception()
    if cancelled:
        raise asyncio.CancelledError from error
    if error:
        raise error


class TurnAccount:
    """What an attempt at a turn has set aside, so that one that froze and its successor together spend no more than the turn may.

    A quarter of the caps is each attempt's own and written nowhere: nearly every turn needs no more, and waits for no
    database before its first word. What it needs on top is written on the row before the call, twice as much at once
    so that it is seldom; `hold` raises StaleMove then if the attempt no longer holds the turn.
    """

    is_durable = False

    def __init__(self, turn: Turn, budget: Budget) -> None:
        self._turn, self._budget = turn, budget
        self._own = _quarter(turn).within(budget.limit)
        self._one = asyncio.Lock()

    async def hold(self, amount: Spending) -> None:
        """See to it that what the budget holds, this call included, is set aside."""
        if self._needed.fits(self._own):
            return
        async with self._one:
            more = _on_top(self._needed.times(2).within(self._budget.limit), self._own)
            if not self._needed.fits(self._own):
                await off_loop(hold_of_turn, self._turn, more)
                self._own += more

    async def release(self, amount: Spending) -> None:
        return

    @property
    def _needed(self) -> Spending:
        return self._budget.limit - self._budget.remaining


class Unshared:
    """What a run may spend is no other process's, or was set aside as a whole before."""

    is_durable = False

    async def hold(self, amount: Spending) -> None:
        return

    async def release(self, amount: Spending) -> None:
        return


def hold(fence: Fence, amount: Spending) -> None:
    """Set an amount aside on the job's row. Raises BudgetSpent, or StaleMove if the attempt no longer holds the job."""
    if not statements.rows(HOLD, _given(fence, amount)):
        job = Job.objects.filter(pk=fence.job_id, attempt=fence.attempt, owner=fence.owner).first()
        if job is None:
            raise StaleMove(f"Attempt {fence.attempt} no longer holds job {fence.job_id}.")
        must_fit(amount, remaining_of(job), whose="job")
        raise BudgetSpent("The job's budget is just being set aside by others.", what=Resource.MONEY)


def may_come_back(fence: Fence, amount: Spending) -> bool:
    """Say whether the job's row would have room for the amount if nothing were held on it."""
    job = Job.objects.get(pk=fence.job_id)
    return amount.fits(remaining_of(job) + Spending(job.held_usd, job.held_tokens, job.held_calls))


def hold_of_turn(turn: Turn, amount: Spending) -> None:
    """Set an amount aside on the turn's row. Raises StaleMove if the attempt no longer holds the turn."""
    if not statements.rows(HOLD_OF_A_TURN, _given(Fence(str(turn.pk), turn.attempt, str(turn.owner)), amount)):
        raise StaleMove(f"Attempt {turn.attempt} no longer holds turn {turn.pk}.")


def release(fence: Fence, amount: Spending) -> None:
    """Give an amount back that was held for a call that was not made. A lost attempt gives nothing back."""
    statements.rows(RELEASE, _given(fence, amount))


def remaining_of(job: Job) -> Spending:
    """Return what is neither spent, nor lent, nor held."""
    return (
        Spending(job.cost_cap_usd, job.token_cap, job.call_cap)
        - Spending(job.spent_usd, job.spent_tokens, job.spent_calls)
        - Spending(job.lent_usd, job.lent_tokens, job.lent_calls)
        - Spending(job.held_usd, job.held_tokens, job.held_calls)
    )


def remaining_of_turn(turn: Turn) -> Spending:
    """Return what this attempt may spend: all but what earlier ones may have spent, or still do."""
    gone = Spending(turn.held_usd, turn.held_tokens, turn.held_calls) + _quarter(turn).times(turn.attempt - 1)
    return _on_top(_caps(turn), gone)


def _caps(turn: Turn) -> Spending:
    return Spending(turn.cost_cap_usd, turn.token_cap, turn.call_cap)


def _quarter(turn: Turn) -> Spending:
    return part_of(_caps(turn), among=QUARTERS)


def _on_top(wanted: Spending, has: Spending) -> Spending:
    """Return what is lacking of each, never less than nothing."""
    return part_of(wanted - has, among=1)


def exceeded(spent: BudgetSpent) -> BudgetExceeded:
    """Return the error that tells an agent what ran out."""
    return KINDS[spent.what](str(spent))


def must_hold_room(amount: Spending, room: Spending) -> None:
    """Raise the BudgetExceeded that names what is lacking, unless there is room for the amount."""
    try:
        must_fit(amount, room, whose="run")
    except BudgetSpent as spent:
        raise exceeded(spent) from spent


def _given(fence: Fence, amount: Spending) -> dict[str, object]:
    return {
        "id": fence.job_id,
        "attempt": fence.attempt,
        "owner": fence.owner,
        "usd": amount.usd,
        "tokens": amount.tokens,
        "calls": amount.calls,
    }
