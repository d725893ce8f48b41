"""Runs the jobs of one worker process on its loop: claim, carry out, decide the outcome, apply it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from agents.domain.errors import DayExceeded, PlatformError, RunError
from agents.domain.steps import Step, StepKey
from agents.domain.values import Progress, Request, Terms
from agents.domain.waits import Parked, Wait
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence
from invocation.domain.outcomes import RunOutcome, outcome_of
from invocation.gateways import declared, hints
from invocation.gateways.announcing import Announcer
from invocation.gateways.database import is_away, off_loop
from invocation.gateways.grouping import Grouper
from invocation.services import attempts, claims, journals, parking, records, results, targets
from invocation.services.accounts import JobAccount
from invocation.services.attempts import Completion
from invocation.services.bills import Bill
from invocation.services.claims import Claim, Claimed, HeldJob
from invocation.services.records import Finished
from invocation.services.running import Running, uncancel
from invocation.services.runs import Assignment, Carried, Clock, Interrupted, Silent, Surroundings, carry_out
from invocation.services.waits import JobWaits
from quota.domain.budgets import Budget
from quota.domain.ledger import ParentKind

log = structlog.get_logger()
SOURCE = "job"
STOP_AGAIN_S = 0.1
GIVE_BACK_EVERY_S = 0.5
GIVE_BACK_TRIES = 60
"""Half a minute; after that the lease has ended, or the heartbeat gives the job back."""


@dataclass(frozen=True, slots=True)
class Parking:
    """The run waits and gave its slot back."""

    wait: Wait


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run was cancelled from outside: by a person, or because the process drains."""


Outcome = Carried | Parking | Stopped


class OutcomeNotKept(PlatformError):
    """The run came to its end and that could not be stored, for a reason that is not the database's absence. A failure like any other."""

    code = "outcome_not_kept"
    remedy = "Read the traceback in the worker's log: without this failure the job would be given back and run for ever."


class JobEngine:
    """Holds the runs of this process. `accept` may be called on the loop only."""

    def __init__(self, *, owner: UUID, announcer: Announcer, slots: int = sys.maxsize) -> None:
        self._owner = owner
        self._announcer = announcer
        self._slots = slots
        self._promised = 0
        self._finishing = 0
        self._lock = threading.Lock()
        self._claims: Grouper[Claim, Claimed | None] = Grouper(claims.claim, abreast=3, most=128)
        self._completions: Grouper[Completion, bool] = Grouper(attempts.complete, abreast=2, most=128)
        self._running = Running()
        self._draining = False

    @property
    def in_flight(self) -> int:
        return self._running.count

    @property
    def running(self) -> frozenset[str]:
        return self._running.ids

    def take(self, wakes: Sequence[tuple[UUID, int]], loop: asyncio.AbstractEventLoop) -> Sequence[tuple[UUID, int]]:
        """Take as many jobs of a message as slots are free, and return the others. May be called from any thread."""
        with self._lock:
            busy = self._running.count - self._finishing + self._promised
            room = 0 if self._draining else max(0, self._slots - busy)
            taken, rest = wakes[:room], wakes[room:]
            self._promised += len(taken)
        if taken:
            loop.call_soon_threadsafe(self._accept_promised, taken)
        return rest

    def _accept_promised(self, wakes: Sequence[tuple[UUID, int]]) -> None:
        self.accept(wakes)
        with self._lock:
            self._promised -= len(wakes)

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
        if claimed.job.endpoint not in declared.book().by_label:
            await off_loop(attempts.leave_undeclared, claimed.job, claimed.fence)
            return
        self._announcer.started(claimed.job.id, claimed.job.agent, claimed.job.endpoint)
        work = _Work(claimed)
        outcome: Outcome = Stopped()
        try:
            with self._running.stoppable(work.fence.job_id):
                outcome = await work.outcome()
            await self._apply(work, outcome)
        except StaleMove as stale:
            log.warning("fenced_out", job_id=str(job_id), attempt=attempt, detail=stale.detail)
        finally:
            self._announcer.ended(claimed.job.id, _word(outcome))
            hints.wake(claimed.job.priority_class)

    async def _apply(self, work: _Work, outcome: Outcome) -> None:
        """Apply what came of the run. Where somebody asked to cancel meanwhile, that is what counts. Raises StaleMove."""
        run = work.finished(outcome)
        try:
            await self._applied(work, outcome, run)
        except StaleMove:
            cancelled = run._replace(outcome=RunOutcome.CANCELLED, error_code="", evidence=None)
            await off_loop(attempts.confirm_cancel, work.fence, cancelled)
        except Exception as defect:
            if is_away(defect):
                await self._give_back(work, run)
                return
            log.exception("outcome_not_kept", job_id=work.fence.job_id)
            unkept = OutcomeNotKept(f"What came of the run could not be stored: {type(defect).__name__}: {defect}"[:500])
            await work.fail(unkept, run._replace(outcome=outcome_of(unkept), error_code=unkept.code, evidence=None))

    async def _give_back(self, work: _Work, run: Finished) -> None:
        """Hand the job back, with what it has spent, as soon as the database is there again; charged to nobody."""
        for _ in range(GIVE_BACK_TRIES):
            await asyncio.sleep(GIVE_BACK_EVERY_S)
            try:
                await off_loop(attempts.hand_back, work.fence, run.lines)
            except Exception as away:
                if not is_away(away):
                    raise
            else:
                return

    async def _applied(self, work: _Work, outcome: Outcome, run: Finished) -> None:
        if isinstance(outcome, Parking):
            await off_loop(parking.park, work.fence, outcome.wait, run.lines)
        elif isinstance(outcome, Stopped) or isinstance(outcome.error, Interrupted):
            await off_loop(attempts.hand_back, work.fence, run.lines)
        elif isinstance(outcome.error, DayExceeded):
            await off_loop(attempts.wait_for_the_next_day, work.fence, outcome.error, run)
        elif outcome.error:
            await work.fail(outcome.error, run)
        else:
            await self._complete(await work.completion(outcome, run))

    async def _complete(self, completion: Completion) -> None:
        self._finishing += 1
        try:
            kept = await self._kept(completion)
        finally:
            self._finishing -= 1
        if not kept:
            raise StaleMove(f"Attempt {completion.fence.attempt} no longer holds job {completion.fence.job_id}.")

    async def _kept(self, completion: Completion) -> bool:
        """Complete with whatever else is finished now; of a group that is refused each is tried by itself."""
        try:
            return await self._completions.do(completion)
        except StaleMove:
            raise
        except Exception as refused:
            if is_away(refused):
                raise
            return (await off_loop(attempts.complete, [completion]))[0]


class _Work:
    """One claimed job and what is needed to run and to finish it."""

    def __init__(self, claimed: Claimed) -> None:
        self.job = claimed.job
        self.fence = claimed.fence
        self.endpoint = declared.book().by_label[claimed.job.endpoint]
        self.bill = Bill()
        self.journal = JobJournal(claimed, self.bill)
        self.clock = Clock()
        self.budget = Budget(self.job.remaining)

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
        """Write the output to its target, where there is one beside the result store, and return what ends the job."""
        performance = carried.performance
        if performance is None:
            raise AssertionError("a run without an error has a performance")
        output = dict(performance.output.value)
        write = targets.writer_of(self.endpoint)
        if write is not None:
            await off_loop(write, self.fence, self.job, output)
        content = results.written(output)
        if not results.is_large(content):
            return Completion(self.fence, results.in_row(content), run, self.job.is_bound)
        return Completion(self.fence, await off_loop(results.stow, self.fence, self.job.tenant_id, content), run, self.job.is_bound)

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


def _word(outcome: Outcome) -> RunOutcome:
    """The word that the run's record keeps, and Flower shows."""
    if isinstance(outcome, Carried):
        return outcome_of(outcome.error)
    return RunOutcome.PARKED if isinstance(outcome, Parking) else RunOutcome.STOPPED
