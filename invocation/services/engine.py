"""Runs the jobs of one worker process on its loop: claim, carry out, decide the outcome, apply it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from agents.domain.errors import AgentError, WaitUnavailable
from agents.domain.run import Parked, Question, Step, StepKey
from agents.domain.values import Json, Progress, Request, Terms
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence
from invocation.domain.modes import WaitKind
from invocation.gateways import declared
from invocation.gateways.announcing import Announcer
from invocation.gateways.database import off_loop
from invocation.gateways.grouping import Grouper
from invocation.models import Job
from invocation.services import attempts, records, targets
from invocation.services.attempts import Claim, Claimed
from invocation.services.calls import Bill
from invocation.services.runs import Assignment, Carried, Clock, Silent, Surroundings, carry_out
from quota.domain.ledger import ParentKind

log = structlog.get_logger()
SOURCE = "job"


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
        self._running: dict[str, asyncio.Task[None]] = {}
        self._draining = False

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def accept(self, wakes: Sequence[tuple[UUID, int]]) -> None:
        """Start each job of a message. A draining process leaves them to the sweep."""
        if self._draining:
            return
        for job_id, attempt in wakes:
            task = asyncio.get_running_loop().create_task(self._attempt(job_id, attempt))
            self._running[str(job_id)] = task
            task.add_done_callback(lambda _, name=str(job_id): self._running.pop(name, None))  # type: ignore[misc]

    def stop(self, job_ids: Sequence[str]) -> None:
        """Cancel these runs: their model calls end, their jobs confirm."""
        for job_id in job_ids:
            if job_id in self._running:
                self._running[job_id].cancel()

    async def drain(self, grace: timedelta) -> None:
        """Let runs finish for as long as `grace`, then cancel the rest, which hands their jobs back."""
        self._draining = True
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=grace.total_seconds())
        left = list(self._running.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _attempt(self, job_id: UUID, attempt: int) -> None:
        claimed = await self._claims.do(Claim(job_id, attempt, self._owner))
        if claimed is None:
            return
        self._announcer.started(claimed.job.id, claimed.job.agent, claimed.job.endpoint)
        work = _Work(claimed)
        outcome: Outcome = Stopped()
        try:
            outcome = await work.outcome()
            await self._apply(work, outcome)
        except StaleMove as stale:
            log.warning("fenced_out", job_id=str(job_id), attempt=attempt, detail=stale.detail)
        finally:
            self._announcer.ended(claimed.job.id, _shown(outcome))

    async def _apply(self, work: _Work, outcome: Outcome) -> None:
        if isinstance(outcome, Parking):
            await off_loop(attempts.park, work.fence, outcome.question, work.bill.take())
        elif isinstance(outcome, Stopped):
            await self._stopped(work)
        elif outcome.performance:
            await work.complete(outcome)
        else:
            await work.fail(outcome)

    async def _stopped(self, work: _Work) -> None:
        """A cancel wins over a drain: the job says which it was."""
        try:
            await off_loop(attempts.confirm_cancel, work.fence, work.finished(Carried(None, None, work.bill, work.clock), "cancelled"))
        except StaleMove:
            await off_loop(attempts.hand_back, work.fence, work.bill.take())


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
            _uncancel()
            return Stopped()

    async def complete(self, carried: Carried) -> None:
        performance = carried.performance
        if performance is None:
            raise AssertionError("complete is called with a performance")
        output = dict(performance.output.value)
        await off_loop(targets.write, self.job, output)
        await off_loop(attempts.complete, self.fence, output, self.finished(carried, "completed"))

    async def fail(self, carried: Carried) -> None:
        error = carried.error
        if error is None:
            raise AssertionError("fail is called with an error")
        outcome = "declined" if isinstance(error, AgentError) else "failed"
        run = self.finished(carried, outcome)
        await off_loop(attempts.fail, self.fence, error, failures=self.job.failures, tries=self.job.tries, run=run)

    def finished(self, carried: Carried, outcome: str) -> records.Finished:
        return records.finished(carried, row=self.job, source=SOURCE, outcome=outcome, since=self.job.queued_at, asked=self.job.input)

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
            cap_usd=job.cost_cap_usd - job.spent_usd,
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


def _shown(outcome: Outcome) -> str:
    """The word that Flower shows."""
    if isinstance(outcome, Carried):
        return "failed" if outcome.error else "completed"
    return "parked" if isinstance(outcome, Parking) else "stopped"


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
