"""Runs the jobs of one worker process on its loop: claim, carry out, decide the outcome, apply it."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from django.db import connections

from agents.domain.errors import DayExceeded
from invocation.domain.errors import StaleMove
from invocation.domain.outcomes import OutcomeNotKept, OutcomeStoreAway, RunOutcome, outcome_of
from invocation.gateways import declared, hints
from invocation.gateways.announcing import Announcer
from invocation.gateways.database import is_away, off_loop
from invocation.gateways.grouping import Grouper
from invocation.services import attempts, claims, parking
from invocation.services.attempts import Completion
from invocation.services.claims import Claim, Claimed
from invocation.services.job_runs import JobRun, Outcome, Parking, Stopped, word_of
from invocation.services.records import Finished
from invocation.services.running import Promised, Running
from invocation.services.runs import Interrupted

log = structlog.get_logger()
STOP_AGAIN_S = 0.1
CLAIMING_S = 0.02
GIVE_BACK_EVERY_S = 0.5
GIVE_BACK_TRIES = 60
"""Half a minute; after that the lease has ended, or the heartbeat gives the job back."""


class JobEngine:
    """Holds the runs of this process.

    A message is claimed on the thread that took it, and only what it got is started on the loop: runs that keep the
    loop busy delay no claim.
    """

    def __init__(self, *, owner: UUID, announcer: Announcer, priority_class: str, slots: int = sys.maxsize) -> None:
        self._owner = owner
        self._announcer = announcer
        self._class = priority_class
        self._slots = slots
        self._promised = Promised()
        self._finishing = 0
        self._lock = threading.Lock()
        self._completions: Grouper[Completion, bool] = Grouper(self._complete_together, abreast=2, most=128)
        self._running = Running()
        self._draining = False

    @property
    def in_flight(self) -> int:
        return self._promised.count + self._running.count

    @property
    def running(self) -> frozenset[str]:
        return self._promised.ids | self._running.ids  # in this order: none is missed on its way from one to the other

    def take(self, wakes: Sequence[tuple[UUID, int]], loop: asyncio.AbstractEventLoop) -> Sequence[tuple[UUID, int]]:
        """Claim and start as many jobs of a message as slots are free, and return the others. May be called from any other thread."""
        with self._lock:
            busy = self._promised.count + self._running.count - self._finishing
            room = 0 if self._draining else max(0, self._slots - busy)
            taken, rest = wakes[:room], wakes[room:]
            promise = self._promised.add(taken)
        if taken:
            self._claim(promise, taken, loop)
        return rest

    def accept(self, wakes: Sequence[tuple[UUID, int]]) -> None:
        """Claim and start each job of a message, from the loop. A draining process leaves them to the sweep."""
        if not self._draining:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, self._claim, self._promised.add(wakes), wakes, loop)

    def _claim(self, promise: int, wakes: Sequence[tuple[UUID, int]], loop: asyncio.AbstractEventLoop) -> None:
        """Where the claim fails, the sweep recalls the message, or the heartbeat gives back what was claimed all the same."""
        claimed: Sequence[Claimed | None] = ()
        try:
            claimed = claims.claim([Claim(job_id, attempt, self._owner) for job_id, attempt in wakes])
        except Exception as broken:
            log.exception("claim_broke_off", jobs=len(wakes), is_away=is_away(broken))
        finally:
            loop.call_soon_threadsafe(self._begin, promise, claimed)
            connections.close_all()

    def _begin(self, promise: int, claimed: Sequence[Claimed | None]) -> None:
        for each in claimed:
            if each is not None:
                self._running.start(each.fence.job_id, self._attempt(each))
        self._promised.keep(promise)

    def stop(self, job_ids: Sequence[str]) -> None:
        """Cancel these runs: their model calls end, their jobs confirm."""
        self._running.stop(job_ids)

    async def drain(self, grace: timedelta) -> None:
        """Let runs finish for as long as `grace`, then cancel the rest, which hands their jobs back."""
        self._draining = True
        await self._rest(within_s=grace.total_seconds())
        while self.in_flight:
            self._running.stop_all()
            await self._rest(within_s=STOP_AGAIN_S)

    async def _rest(self, *, within_s: float) -> None:
        """Return when nothing is claimed or runs any more, or after `within_s`."""
        end = time.monotonic() + within_s
        while self.in_flight and (left := end - time.monotonic()) > 0:
            if self._running.count:
                await self._running.rest(within_s=left)
            else:
                await asyncio.sleep(min(left, CLAIMING_S))

    async def _attempt(self, claimed: Claimed) -> None:
        if not declared.knows(claimed.job.endpoint, claimed.job.agent):
            await off_loop(attempts.leave_undeclared, claimed.job, claimed.fence)
            return
        self._announcer.started(claimed.job.id, claimed.job.agent, claimed.job.endpoint)
        work = JobRun(claimed)
        outcome: Outcome = Stopped()
        try:
            with self._running.stoppable(work.fence.job_id):
                outcome = await work.outcome()
            await self._apply(work, outcome)
        except StaleMove as stale:
            log.warning("fenced_out", job_id=work.fence.job_id, attempt=work.fence.attempt, detail=stale.detail)
        finally:
            self._announcer.ended(claimed.job.id, word_of(outcome))
            if not work.is_completed:
                hints.wake(self._class)

    async def _apply(self, work: JobRun, outcome: Outcome) -> None:
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
            why = (OutcomeStoreAway if isinstance(defect, OSError) else OutcomeNotKept).of(defect)
            await work.fail(why, run._replace(outcome=outcome_of(why), error_code=why.code, evidence=None))

    async def _give_back(self, work: JobRun, run: Finished) -> None:
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

    async def _applied(self, work: JobRun, outcome: Outcome, run: Finished) -> None:
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
            work.is_completed = True

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
            return (await off_loop(self._complete_together, [completion]))[0]

    def _complete_together(self, completions: Sequence[Completion]) -> Sequence[bool]:
        """On a database thread: who waits for the slots hears of them before the loop comes to it."""
        kept = attempts.complete(completions)
        hints.wake(self._class)
        return kept
