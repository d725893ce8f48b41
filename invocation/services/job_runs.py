"""One claimed job and what is built around its run: its journal, budget, clock and bill, and what its outcome is."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import timedelta

from agents.domain.errors import RunError
from agents.domain.steps import Step, StepKey
from agents.domain.values import Progress, Request, Terms
from agents.domain.waits import Parked, Wait
from invocation.domain.jobs import Fence
from invocation.domain.outcomes import RunOutcome, outcome_of
from invocation.gateways import declared
from invocation.gateways.database import off_loop, patiently_stored
from invocation.services import attempts, journals, records, results, targets
from invocation.services.accounts import JobAccount
from invocation.services.attempts import Completion
from invocation.services.bills import Bill
from invocation.services.claims import Claimed, HeldJob
from invocation.services.records import Finished
from invocation.services.running import uncancel
from invocation.services.runs import Assignment, Carried, Clock, Silent, Surroundings, carry_out
from invocation.services.waits import JobWaits
from quota.domain.budgets import Budget
from quota.domain.ledger import ParentKind

SOURCE = "job"


@dataclass(frozen=True, slots=True)
class Parking:
    """The run waits and gave its slot back."""

    wait: Wait


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run was cancelled from outside: by a person, or because the process drains."""


Outcome = Carried | Parking | Stopped


class JobRun:
    """One claimed job and what is needed to run and to finish it."""

    def __init__(self, claimed: Claimed) -> None:
        self.job = claimed.job
        self.fence = claimed.fence
        self.endpoint = declared.book().by_label[claimed.job.endpoint]
        self.bill = Bill()
        self.journal = JobJournal(claimed, self.bill)
        self.clock = Clock()
        self.budget = Budget(self.job.remaining)
        self.is_completed = False

    async def outcome(self) -> Outcome:
        """Run to an end of any kind; a person's or a drain's cancellation is an outcome, too."""
        try:
            return await carry_out(self._assignment(), self._surroundings())
        except Parked as parked:
            return Parking(parked.wait)
        except asyncio.CancelledError:
            uncancel()
            return Stopped()

    async def completion(self, carried: Carried, run: Finished) -> Completion:
        """Write the output to its target, where there is one beside the result store, and return what ends the job.

        A store that is away is waited for half a minute.
        """
        performance = carried.performance
        if performance is None:
            raise AssertionError("a run without an error has a performance")
        output = dict(performance.output.value)
        write = targets.writer_of(self.endpoint)
        if write is not None:
            await patiently_stored(write, self.fence, self.job, output)
        content = results.written(output)
        if not results.is_large(content):
            return Completion(self.fence, results.in_row(content), run, self.job.is_bound)
        kept = await patiently_stored(results.stow, self.fence, self.job.tenant_id, content)
        return Completion(self.fence, kept, run, self.job.is_bound)

    async def fail(self, error: RunError, run: Finished) -> None:
        await off_loop(attempts.fail, self.fence, error, failures=self.job.failures, tries=self.job.tries, run=run)

    def finished(self, outcome: Outcome) -> Finished:
        """Describe the attempt, and take its bill: whoever applies the outcome books these lines, once."""
        carried = outcome if isinstance(outcome, Carried) else Carried(None, None, self.bill, self.clock)
        word = word_of(outcome)
        return records.finished(carried, row=self.job, source=SOURCE, outcome=word, since=self.job.queued_at, asked=self.job.input)

    def _assignment(self) -> Assignment:
        job = self.job
        return Assignment(
            run_id=job.id,
            endpoint=self.endpoint,
            agent=job.agent,
            request=Request(input=job.input),
            terms=_terms(job),
            tenant_id=job.tenant_id,
            parent_kind=ParentKind.JOB,
            parent_id=job.key,
            budgets=(self.budget,),
            account=JobAccount(self.fence),
            patience=timedelta(milliseconds=job.latency_budget_ms),
        )

    def _surroundings(self) -> Surroundings:
        watcher = JobWatcher(self.fence)
        waits = JobWaits(self.job, self.fence, self.endpoint, self.budget)
        return Surroundings(journal=self.journal, sink=Silent(), watcher=watcher, waits=waits, bill=self.bill, clock=self.clock)


class JobJournal:
    """Steps that live as long as the job: each is committed, fenced, with what it cost."""

    def __init__(self, claimed: Claimed, bill: Bill) -> None:
        self._fence = claimed.fence
        self._steps = dict(claimed.steps)
        self._bill = bill

    def lookup(self, key: StepKey) -> Step | None:
        return self._steps.get(key)

    async def record(self, key: StepKey, step: Step) -> None:
        lines = self._bill.take()
        try:
            await off_loop(journals.record_step, self._fence, key, step, lines)
        except BaseException:
            self._bill.put_back(lines)
            raise
        self._steps[key] = step


class JobWatcher:
    """Shows progress on the job's row and in its events."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence

    async def progress(self, progress: Progress) -> None:
        await off_loop(attempts.tell_progress, self._fence, asdict(progress))


def _terms(job: HeldJob) -> Terms:
    return Terms(
        tenant=job.tenant,
        subject=job.subject,
        locale=job.locale,
        latency_budget_ms=job.latency_budget_ms,
        cost_cap_usd=float(job.cost_cap_usd),
        metadata=job.metadata,
    )


def word_of(outcome: Outcome) -> RunOutcome:
    """The word that the run's record keeps, and Flower shows."""
    if isinstance(outcome, Carried):
        return outcome_of(outcome.error)
    return RunOutcome.PARKED if isinstance(outcome, Parking) else RunOutcome.STOPPED
