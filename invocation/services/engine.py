"""Runs the jobs of one worker process on its loop: claim, carry out, decide the outcome, apply it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from uuid import UUID

import structlog

from agents.domain.errors import RunError, WaitUnavailable
from agents.domain.run import Parked, Question, Step, StepKey
from agents.domain.values import Json, Progress, Request, Terms
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence
from invocation.domain.modes import WaitKind
from invocation.domain.outcomes import RunOutcome, outcome_of
from invocation.gateways import declared
from invocation.gateways.announcing import Announcer
from invocation.gateways.database import off_loop
from invocation.gateways.grouping import Grouper
from invocation.models import Job
from invocation.services import attempts, records, targets
from invocation.services.attempts import Claim, Claimed
from invocation.services.calls import Bill, own_budget
from invocation.services.records import Finished
from invocation.services.running import Running, uncancel
from invocation.services.runs import Assignment, Carried, Clock, Interrupted, Silent, Surroundings, carry_out
from quota.domain.ledger import ParentKind

log = structlog.get_logger()
SOURCE = "job"
STOP_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Parking:
    """The run asked a person and gave its slot back."""

    question: Question


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run was cancelled from outside: by a person, or because the process drains."""


Outcome = Carried | Parking | Stopped


class JobEngine:
    """Holds the runs of this process. `accept` may be called on the loop only."""

    def __init__(self, *, owner: UUID, announcer: Announcer) -> None:
        self._owner = owner
        self._announcer = announcer
        self._claims: Grouper[Claim, Claimed | None] = Grouper(attempts.claim)
        self._running = Running()
        self._draining = False

    @property
    def in_flight(self) -> int:
        return self._running.count

    @property
    def running(self) -> frozenset[str]:
        return self._running.ids

    def accept(self, wakes: Sequence[tuple[UUID, int]]) -> None:
        """Start each job of a message. A draining process leaves them to the sweep."""
        if self._draining:
            return
        for job_id, attempt in wakes:
            self._running.start(str(job_id), self._attempt(job_id, attempt))

    def stop(self, job_ids: Sequence[str]) -> None:
        """Cancel these runs: their model calls end, their jobs confirm."""
        self._running.stop(job_ids)

    async def drain(self, grace: timedelta) -> None:
        """Let runs finish for as long as `grace`, then cancel the rest, which hands their jobs back."""
        self._draining = True
        await self._running.rest(within_s=grace.total_seconds())
        while self._running.count:
            self._running.stop_all()
            await self._running.rest(within_s=STOP_AGAIN_S)

    async def _attempt(self, job_id: UUID, attempt: int) -> None:
        claimed = await self._claims.do(Claim(job_id, attempt, self._owner))
        if claimed is None:
            return
        self._announcer.started(claimed.job.id, claimed.job.agent, claimed.job.endpoint)
        work = _Work(claimed)
        outcome: Outcome = Stopped()
        try:
            with self._running.stoppable(work.fence.job_id):
                outcome = await work.outcome()
            await _apply(work, outcome)
        except StaleMove as stale:
            log.warning("fenced_out", job_id=str(job_id), attempt=attempt, detail=stale.detail)
        finally:
            self._announcer.ended(claimed.job.id, _word(outcome))


async def _apply(work: _Work, outcome: Outcome) -> None:
    """Apply what came of the run. Where somebody asked to cancel meanwhile, that is what counts. Raises StaleMove."""
    run = work.finished(outcome)
    try:
        await _applied(work, outcome, run)
    except StaleMove:
        await off_loop(attempts.confirm_cancel, work.fence, replace(run, outcome=RunOutcome.CANCELLED, error_code="", evidence=None))


async def _applied(work: _Work, outcome: Outcome, run: Finished) -> None:
    if isinstance(outcome, Parking):
        await off_loop(attempts.park, work.fence, outcome.question, run.lines)
    elif isinstance(outcome, Stopped) or isinstance(outcome.error, Interrupted):
        await off_loop(attempts.hand_back, work.fence, run.lines)
    elif outcome.error:
        await work.fail(outcome.error, run)
    else:
        await work.complete(outcome, run)


class _Work:
    """One claimed job and what is needed to run and to finish it."""

    def __init__(self, claimed: Claimed) -> None:
        self.job = claimed.job
        self.fence = claimed.fence
        self.endpoint = declared.book().by_label[claimed.job.endpoint]
        self.bill = Bill()
        self.journal = JobJournal(claimed, self.bill)
        self.clock = Clock()

    async def outcome(self) -> Outcome:
        """Run to an end of any kind; a person's or a drain's cancellation is an outcome, too."""
        try:
            return await carry_out(self._assignment(), self._surroundings())
        except Parked as parked:
            return Parking(parked.question)
        except asyncio.CancelledError:
            uncancel()
            return Stopped()

    async def complete(self, carried: Carried, run: Finished) -> None:
        performance = carried.performance
        if performance is None:
            raise AssertionError("complete is called with a performance")
        output = dict(performance.output.value)
        await off_loop(targets.write, self.job, output)
        await off_loop(attempts.complete, self.fence, output, run)

    async def fail(self, error: RunError, run: Finished) -> None:
        await off_loop(attempts.fail, self.fence, error, failures=self.job.failures, tries=self.job.tries, run=run)

    def finished(self, outcome: Outcome) -> Finished:
        """Describe the attempt, and take its bill: whoever applies the outcome books these lines, once."""
        carried = outcome if isinstance(outcome, Carried) else Carried(None, None, self.bill, self.clock)
        word = _word(outcome)
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
            parent_id=str(job.id),
            budgets=(own_budget(job.cost_cap_usd - job.spent_usd),),
            patience=timedelta(milliseconds=job.latency_budget_ms),
        )

    def _surroundings(self) -> Surroundings:
        watcher = JobWatcher(self.fence)
        waits = JobWaits(self.job, self.endpoint)
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
        await off_loop(attempts.record_step, self._fence, key, step, self._bill.take())
        self._steps[key] = step


class JobWatcher:
    """Shows progress on the job's row and in its events."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence

    async def progress(self, progress: Progress) -> None:
        await off_loop(attempts.tell_progress, self._fence, asdict(progress))


class JobWaits:
    """What a job may wait for, by its endpoint's contract."""

    def __init__(self, job: Job, endpoint: Endpoint) -> None:
        self._answers = job.answers
        self._may_wait = endpoint.may_wait & endpoint.policy.may_wait

    def answer(self, question: Question) -> Json:
        if question.key in self._answers:
            return self._answers[question.key]
        if WaitKind.PERSON not in self._may_wait:
            raise WaitUnavailable(f"Here nobody can be asked {question.key!r}.")
        raise Parked(question)


def _terms(job: Job) -> Terms:
    return Terms(
        tenant=str(job.tenant_id),
        subject=job.subject,
        locale=job.locale,
        latency_budget_ms=job.latency_budget_ms,
        cost_cap_usd=float(job.cost_cap_usd),
        metadata=job.metadata,
    )


def _word(outcome: Outcome) -> RunOutcome:
    """The word that the run's record keeps, and Flower shows."""
    if isinstance(outcome, Carried):
        return outcome_of(outcome.error)
    return RunOutcome.PARKED if isinstance(outcome, Parking) else RunOutcome.STOPPED
