"""One run of an agent, the same for every way of invoking it: what is built around the agent, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import structlog

from agents.domain import registry
from agents.domain.contract import Finding
from agents.domain.errors import OutputInvalid, PlatformError, RunError
from agents.domain.providers import Provider
from agents.domain.run import Run, Watcher
from agents.domain.steps import Journal, Step, StepKey
from agents.domain.values import Plan, Request, Terms, Verification
from agents.domain.waits import Waits, leading
from agents.services import providers
from agents.services.execution import Performance, perform
from invocation.domain.endpoints import Endpoint
from invocation.gateways import declared, schemas
from invocation.gateways.database import is_away
from invocation.services import results
from invocation.services.accounts import Account
from invocation.services.bills import Bill, Payer
from invocation.services.calls import PaidModels
from quota.domain.budgets import Budget
from quota.domain.ledger import ParentKind

log = structlog.get_logger()


class AgentCrashed(PlatformError):
    """The agent's code raised something that is no typed error of a run."""

    code = "agent_crashed"
    is_for_operators = True
    remedy = "Read the traceback in the worker's log; mend the agent and redrive."


class Interrupted(PlatformError):
    """The database, or the store that it waited for, went away under the run: charged to nobody."""

    code = "interrupted"
    retryable = True
    is_for_operators = True
    remedy = "Nothing needs to be done: it runs again."


class RunTimedOut(PlatformError):
    """The agent did not end within its mode's ceiling: it was stopped where it waited."""

    code = "run_timed_out"
    retryable = True
    remedy = "Look in the journal for the step after which it hangs; give every call of the agent's own a time limit."


class Sink(Protocol):
    """Who receives what the agent streams."""

    async def plan_ready(self, plan: Plan, verification: Verification) -> None: ...

    def delta(self, text: str) -> None: ...

    async def retracted(self, finding: Finding) -> None: ...


class Assignment(NamedTuple):
    """What is to be run, for whom, and what it may take."""

    run_id: UUID
    endpoint: Endpoint
    agent: str
    request: Request
    terms: Terms
    tenant_id: UUID
    parent_kind: ParentKind
    parent_id: str
    budgets: tuple[Budget, ...]
    """Each call must fit all of them: the run's own and those that it shares."""
    account: Account
    """Where its calls are set aside beside this process."""
    patience: timedelta


@dataclass(slots=True)
class Clock:
    """The moments of one run; lengths are measured by the monotonic clock."""

    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _started: float = field(default_factory=time.monotonic)
    first_delta_ms: int | None = None

    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)

    def first_delta(self) -> None:
        if self.first_delta_ms is None:
            self.first_delta_ms = self.elapsed_ms()


class Surroundings(NamedTuple):
    """What an attempt puts around the agent: its journal, its listener, its watcher, its waits, its bill and its clock."""

    journal: Journal
    sink: Sink
    watcher: Watcher
    waits: Waits
    bill: Bill
    clock: Clock


class Carried(NamedTuple):
    """What a run came to: a performance, or the error that ended it; never both."""

    performance: Performance | None
    error: RunError | None
    bill: Bill
    clock: Clock


async def carry_out(assignment: Assignment, around: Surroundings) -> Carried:
    """Run the agent to its end. Never raises an error of the run; Parked and cancellation pass through.

    This is the attempt's boundary: the one place where any exception is caught.
    """
    bill, clock = around.bill, around.clock
    try:
        performance = await _perform_as_one(assignment, around)
    except RunError as error:
        return Carried(None, error, bill, clock)
    except Exception as crash:
        if is_away(crash):
            return Carried(None, Interrupted(f"The database went away: {crash}"[:500]), bill, clock)
        log.exception("agent_crashed", agent=assignment.agent, run_id=str(assignment.run_id))
        return Carried(None, AgentCrashed(f"{type(crash).__name__}: {crash}"[:500]), bill, clock)
    return Carried(performance, None, bill, clock)


async def _perform_as_one(assignment: Assignment, around: Surroundings) -> Performance:
    """Perform; of what came out of several branches of the agent at once, raise what counts."""
    try:
        return await _perform_in_time(assignment, around)
    except BaseExceptionGroup as group:
        raise leading(group) from group


async def _perform_in_time(assignment: Assignment, around: Surroundings) -> Performance:
    """Perform up to the mode's ceiling. Raises RunTimedOut there; an agent's own TimeoutError is its own."""
    ceiling = assignment.endpoint.policy.ceiling
    limit = asyncio.timeout(ceiling.total_seconds())
    try:
        async with limit:
            return await _perform(assignment, around)
    except TimeoutError:
        if limit.expired():
            raise RunTimedOut(f"The run had not ended after {ceiling}.") from None
        raise


async def _perform(assignment: Assignment, around: Surroundings) -> Performance:
    name, _, version = assignment.agent.partition("@")
    declared.load_agents()
    spec = registry.find(name, int(version))
    run = Run(
        key=str(assignment.run_id),
        terms=assignment.terms,
        spec=spec,
        journal=around.journal,
        models=_paid_models(assignment, around.bill),
        watcher=around.watcher,
        waits=around.waits,
    )
    return await perform(
        spec,
        run,
        assignment.request,
        floor=assignment.endpoint.floor,
        limits=assignment.endpoint.policy.verdict,
        output_check=lambda value: _check_output(assignment.endpoint, value),
        sink=_Timed(around.sink, around.clock),
    )


def _paid_models(assignment: Assignment, bill: Bill) -> PaidModels:
    return PaidModels(
        bill=bill,
        provider=_provider(asyncio.get_running_loop()),
        names=providers.names(),
        payer=Payer(
            tenant_id=assignment.tenant_id,
            endpoint=assignment.endpoint.label,
            mode=str(assignment.endpoint.mode),
            priority_class=assignment.endpoint.policy.priority_class,
            run_id=assignment.run_id,
            parent_kind=assignment.parent_kind,
            parent_id=assignment.parent_id,
        ),
        budgets=assignment.budgets,
        account=assignment.account,
        patience=assignment.patience,
    )


@cache
def _provider(_loop: asyncio.AbstractEventLoop) -> Provider:
    """Build the provider once a loop: its connections belong there."""
    return providers.chosen()


def _check_output(endpoint: Endpoint, value: Mapping[str, Any]) -> None:
    try:
        schemas.check_storable(value)
        schemas.check(value, endpoint.output_schema)
    except schemas.Unfit as unfit:
        raise OutputInvalid(f"{endpoint.label}: output{unfit.pointer}: {unfit.wanted}.") from None
    results.check_size(value)


@dataclass(frozen=True, slots=True)
class _Timed:
    """Notes when the first delta passed."""

    sink: Sink
    clock: Clock

    async def plan_ready(self, plan: Plan, verification: Verification) -> None:
        await self.sink.plan_ready(plan, verification)

    def delta(self, text: str) -> None:
        self.clock.first_delta()
        self.sink.delta(text)

    async def retracted(self, finding: Finding) -> None:
        await self.sink.retracted(finding)


class Silent:
    """A sink and watcher for runs that nobody watches word by word."""

    async def plan_ready(self, plan: Plan, verification: Verification) -> None:
        return

    def delta(self, text: str) -> None:
        return

    async def retracted(self, finding: Finding) -> None:
        return

    async def progress(self, progress: object) -> None:
        return


class AttemptJournal:
    """Steps that live as long as the attempt."""

    def __init__(self) -> None:
        self._steps: dict[StepKey, Step] = {}

    def lookup(self, key: StepKey) -> Step | None:
        return self._steps.get(key)

    async def record(self, key: StepKey, step: Step) -> None:
        self._steps[key] = step


def is_retryable(error: RunError) -> bool:
    """Say whether the same run may be tried again at once."""
    return error.retryable
