"""The end of a job's attempt: completed, failed, handed back or cancelled; completions grouped over the jobs of a process."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from agents.domain.errors import Cause, DayExceeded, RunError
from invocation.domain.jobs import NEVER_PUT_OFF, Fault, Fence, JobState, Move, Next, PutOffs, judge
from invocation.models import Job
from invocation.selectors.jobs import put_offs, waits_in_a_row
from invocation.services import endings, lifecycle, records, results
from invocation.services.charges import charge
from invocation.services.claims import HeldJob
from invocation.services.records import Finished
from invocation.services.results import Kept
from quota.domain.ledger import LedgerLine


class Completion(NamedTuple):
    """A run that gave its output: whose attempt it was, its record, and whether its job is in a lane or has a parent."""

    fence: Fence
    output: Kept
    run: Finished
    is_bound: bool = True


def complete(completions: Sequence[Completion]) -> Sequence[bool]:
    """Store the results and end the jobs, in one transaction; False for an attempt that holds its job no more, of which nothing is kept."""
    now = datetime.now(UTC)
    given = [lifecycle.held(each.fence) for each in completions]
    bound = [UUID(each.fence.job_id) for each in completions if each.is_bound]
    with transaction.atomic():
        ended = {job.id for job in endings.end(Move.COMPLETE, given, now=now, right=lifecycle.HOLDER, bound=bound)}
        kept = [(job.job_id, each) for job, each in zip(given, completions, strict=True) if job.job_id in ended]
        results.keep([(job_id, each.output) for job_id, each in kept], now=now)
        _write([(each.fence, each.run) for _, each in kept], now=now)
    return [job.job_id in ended for job in given]


def _write(runs: Sequence[tuple[Fence, Finished]], *, now: datetime) -> None:
    records.write([run for _, run in runs], now=now)
    for fence, run in runs:
        charge(fence, run.lines)


def fail(fence: Fence, error: RunError, *, failures: int, tries: int, run: Finished) -> None:
    """Charge a failure: back to the queue after a wait, or failed for good; or put off, charged to nobody. Raises StaleMove."""
    now = datetime.now(UTC)
    luck = random.random()  # noqa: S311  (jitter)
    before = NEVER_PUT_OFF if error.is_own else put_offs(UUID(fence.job_id))
    verdict = judge(error, failures=failures + 1, tries=tries, before=before, now=now, luck=luck)
    fault = Fault.of(error).as_json()
    with transaction.atomic():
        if verdict.next is Next.RETRY:
            lifecycle.move_one(Move.RETRY, lifecycle.held(fence, due_at=verdict.due_at, error=fault), now=now, right=lifecycle.HOLDER)
        elif verdict.next is Next.PUT_OFF:
            given = lifecycle.held(fence, due_at=verdict.due_at, reason=error.code)
            lifecycle.move_one(Move.PUT_OFF, given, now=now, right=lifecycle.HOLDER)
        else:
            _bury(fence, _since(before, fault), now=now)
        _write([(fence, run)], now=now)


def _since(before: PutOffs, fault: Mapping[str, str]) -> Mapping[str, str]:
    """Say of a job that was put off for too long for how long that was."""
    if before.since is None:
        return fault
    return {**fault, "sentence": f"It was put off {before.times} times since {before.since:%Y-%m-%d %H:%M} UTC. {fault['sentence']}"}


SPREAD_OF_A_NEW_DAY = timedelta(seconds=30)


def wait_for_the_next_day(fence: Fence, error: DayExceeded, run: Finished) -> None:
    """Park a job whose tenant has spent its day until the next, or until it expires; charged to nobody. Raises StaleMove.

    What waits for midnight does not come in one second.
    """
    now = datetime.now(UTC)
    due_at = now + (error.retry_after or timedelta(hours=1)) + random.random() * SPREAD_OF_A_NEW_DAY  # noqa: S311  (jitter)
    with transaction.atomic():
        given = lifecycle.held(fence, due_at=due_at, reason=error.code)
        lifecycle.move_one(Move.WAIT, given, now=now, right=lifecycle.HOLDER)
        _write([(fence, run)], now=now)


UNDECLARED = "undeclared"
UNDECLARED_AGAIN = timedelta(seconds=10)
MOST_UNDECLARED = 30


def leave_undeclared(job: HeldJob, fence: Fence) -> None:
    """Put off a job whose endpoint or agent is not known here, charged to nobody: in a deploy, another process may know it.

    After five minutes of that in a row it is buried: trying again cures nothing. Raises StaleMove.
    """
    now = datetime.now(UTC)
    if waits_in_a_row(job.id, UNDECLARED) < MOST_UNDECLARED:
        given = lifecycle.held(fence, due_at=now + UNDECLARED_AGAIN, reason=UNDECLARED)
        lifecycle.move_one(Move.WAIT, given, now=now, right=lifecycle.HOLDER)
        return
    fault = Fault(
        code="endpoint_undeclared",
        sentence=f"{job.endpoint} with {job.agent} is not declared in this deployment any more.",
        cause=Cause.BAD_CODE,
        remedy="Declare it again (a retired version stays declared, with its successor), then redrive.",
    ).as_json()
    with transaction.atomic():
        _bury(fence, fault, now=now)


def _bury(fence: Fence, fault: Mapping[str, str], *, now: datetime) -> None:
    facts = {"error": fault, "cause": fault["cause"], "reason": fault["code"], "charged": 1}
    endings.end_one(Move.BURY, lifecycle.held(fence, **facts), now=now, right=lifecycle.HOLDER)


def hand_back(fence: Fence, lines: Sequence[LedgerLine]) -> None:
    """Return a job unfinished because the process drains; charged to nobody. Raises StaleMove."""
    with transaction.atomic():
        lifecycle.move_one(Move.HAND_BACK, lifecycle.held(fence), now=datetime.now(UTC), right=lifecycle.HOLDER)
        charge(fence, lines)


def confirm_cancel(fence: Fence, run: Finished) -> None:
    """End a job whose run was stopped. Raises StaleMove."""
    now = datetime.now(UTC)
    with transaction.atomic():
        endings.end_one(Move.CONFIRM_CANCEL, lifecycle.held(fence), now=now, right=lifecycle.HOLDER)
        _write([(fence, run)], now=now)


def tell_progress(fence: Fence, progress: Mapping[str, Any]) -> None:
    """Show how far the run is. Late or fenced-out news change nothing."""
    now = datetime.now(UTC)
    with transaction.atomic():
        if Job.objects.filter(pk=fence.job_id, attempt=fence.attempt, owner=fence.owner).update(progress=dict(progress)):
            lifecycle.note(fence.job_id, "progress", progress, now=now)


def held_by(owner: UUID) -> list[Fence]:
    """Return the right to each job that this process holds."""
    held = Job.objects.filter(owner=owner).values_list("id", "attempt")
    return [Fence(str(job_id), attempt, str(owner)) for job_id, attempt in held]


def return_broken_off(fences: Sequence[Fence]) -> int:
    """Queue again, charged to nobody, what was held and is not run any more; a job that cancels is cancelled."""
    given, now = [lifecycle.held(fence) for fence in fences], datetime.now(UTC)
    with transaction.atomic():
        endings.lock_around([each.job_id for each in given])
        returned = lifecycle.move(Move.HAND_BACK, given, now=now, right=lifecycle.HOLDER)
        stopped = endings.end(Move.CONFIRM_CANCEL, given, now=now, right=lifecycle.HOLDER)
    return len(returned) + len(stopped)


def holds(fence: Fence) -> bool:
    """Say whether the attempt still holds its job and nobody wants it stopped."""
    return Job.objects.filter(pk=fence.job_id, attempt=fence.attempt, owner=fence.owner, state=JobState.WORKING).exists()


def cancelling(owner: UUID) -> list[str]:
    """Return the jobs of this process that somebody asked to stop."""
    held = Job.objects.filter(owner=owner, state=JobState.CANCELLING)
    return [str(job_id) for job_id in held.values_list("id", flat=True)]
