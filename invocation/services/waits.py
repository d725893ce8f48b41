"""What a job may wait for, by its endpoint's contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from agents.domain.errors import RunError, WaitTimedOut
from agents.domain.values import Json
from agents.domain.waits import Child, ForAnswers, ForCallback, ForChildren, ForMoment, Outcome, Parked, Question, Spawn, Wait
from invocation.domain.budgets import Wish
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import InvocationError
from invocation.domain.jobs import Fence
from invocation.domain.modes import WaitKind
from invocation.domain.waits import LEAST_CAP, cap_of_each
from invocation.gateways.database import off_loop, patiently_stored
from invocation.selectors.children import outcomes_of
from invocation.services import accounts, callbacks, spawning
from invocation.services.claims import HeldJob
from invocation.services.no_waits import unavailable
from invocation.services.runs import Interrupted
from quota.domain.budgets import Budget, Hold, Spending
from quota.domain.errors import BudgetSpent
from quota.services import plans


class JobWaits:
    """The waits of one attempt. Implements agents.domain.waits.Waits; `budget` is the run's own, of which children are lent."""

    def __init__(self, job: HeldJob, fence: Fence, endpoint: Endpoint, budget: Budget) -> None:
        self._job = job
        self._fence = fence
        self._may_wait = endpoint.may_wait & endpoint.policy.may_wait
        self._budget = budget

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def answers(self, questions: Sequence[Question], *, until: datetime | None) -> Mapping[str, Json]:
        self._must_allow(WaitKind.PERSON)
        given = self._job.answers
        open_ones = tuple(each for each in questions if each.key not in given)
        if open_ones:
            raise self._parked(ForAnswers(open_ones, until), until)
        return {each.key: given[each.key] for each in questions}

    async def open_callback(self, key: str) -> str:
        self._must_allow(WaitKind.CALLBACK)
        return await off_loop(callbacks.open_callback, self._fence, key)

    async def called(self, key: str, *, until: datetime | None) -> Json:
        self._must_allow(WaitKind.CALLBACK)
        has_come, value = await off_loop(callbacks.called, self._job.id, key)
        if not has_come:
            raise self._parked(ForCallback(key, until), until)
        return value

    async def reached(self, moment: datetime) -> None:
        self._must_allow(WaitKind.TIME)
        if self.now() < moment:
            raise Parked(ForMoment(moment))

    async def spawn(self, spawn: Spawn) -> Sequence[str]:
        """Make the children, unless an earlier attempt did: those cost nothing now, whatever is left."""
        self._must_allow(WaitKind.CHILDREN)
        ids = await off_loop(spawning.made_before, self._fence, spawn) or await self._spawned(spawn)
        return [str(child) for child in ids]

    async def joined(self, children: Sequence[Child], *, until: datetime | None) -> Sequence[Outcome]:
        self._must_allow(WaitKind.CHILDREN)
        outcomes = await self._outcomes(children)
        if outcomes is None:
            raise self._parked(ForChildren(tuple(child.id for child in children), until), until)
        return outcomes

    async def _outcomes(self, children: Sequence[Child]) -> list[Outcome] | None:
        """Look how they ended; a store that is away is waited for half a minute. Raises Interrupted if it stays away."""
        try:
            return await patiently_stored(outcomes_of, self._job.id, children)
        except OSError as away:
            raise Interrupted(f"The store of the children's outputs does not answer: {away}"[:500]) from away

    async def _spawned(self, spawn: Spawn) -> list[UUID]:
        """Make the children; this attempt's own budget shrinks with them, so that no call of it spends what was lent."""
        endpoint = await off_loop(spawning.endpoint_of, spawn, day=await plans.day_limits(self._job.tenant_id))
        count = len(spawn.inputs)
        cap = cap_of_each(_wish(spawn), ceiling=endpoint.budgets.spending, left=self._budget.remaining, count=count)
        accounts.must_hold_room(LEAST_CAP, cap)
        hold = self._lent(cap.times(count))
        try:
            ids = await off_loop(spawning.spawn_children, self._fence, spawn, endpoint, cap=cap, now=self.now())
        except (RunError, InvocationError):
            # A refusal has lent nothing. A cancellation or a lost connection says nothing: the thread may commit all the same.
            self._budget.release(hold)
            raise
        self._budget.settle(hold, hold.amount)
        return ids

    def _lent(self, amount: Spending) -> Hold:
        try:
            return self._budget.reserve(amount)
        except BudgetSpent as spent:
            raise accounts.exceeded(spent) from spent

    def _parked(self, wait: Wait, until: datetime | None) -> BaseException:
        """Return what ends the attempt, or what the run is told once its patience is over."""
        if until is not None and self.now() >= until:
            return WaitTimedOut("Nothing came in time.")
        return Parked(wait)

    def _must_allow(self, kind: WaitKind) -> None:
        if kind not in self._may_wait:
            raise unavailable(kind)


def _wish(spawn: Spawn) -> Wish:
    usd = None if spawn.cost_usd is None else Decimal(str(spawn.cost_usd))
    return Wish(cost_usd=usd, tokens=spawn.tokens, model_calls=spawn.model_calls)
