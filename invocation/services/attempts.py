"""The database side of a job's attempt: claim, journal, finish; each grouped over the jobs of a process."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F

from agents.domain.errors import RunError
from agents.domain.run import Question, Step, StepKey
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fault, Fence, JobState, Move, Next, judge
from invocation.domain.schedules import FiringMove
from invocation.models import Job, Result, StepRecord
from invocation.services import firings, lifecycle, records
from invocation.services.records import Finished
from quota.domain.ledger import LedgerLine
from quota.services import ledger


@dataclass(frozen=True, slots=True)
class Claim:
    """A message's word: this job, in this attempt, for this process."""

    job_id: UUID
    attempt: int
    owner: UUID


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this process holds, and the steps that earlier attempts finished."""

    job: Job
    steps: Mapping[StepKey, Step]

    @property
    def fence(self) -> Fence:
        return Fence(str(self.job.id), self.job.attempt, str(self.job.owner))


def claim(claims: Sequence[Claim]) -> Sequence[Claimed | None]:
    """Take the jobs of these messages; None for a message that came twice or too late."""
    given = [lifecycle.of(each.job_id, attempt=each.attempt, owner=str(each.owner)) for each in claims]
    moved = lifecycle.move(Move.CLAIM, given, now=datetime.now(UTC), right=lifecycle.SAME_ATTEMPT)
    jobs = Job.objects.in_bulk(moved)
    resumed = [job.id for job in jobs.values() if job.attempt > 1]
    steps = _steps(resumed) if resumed else {}
    taken = [jobs.pop(each.job_id, None) for each in claims]
    return [Claimed(job, steps.get(job.id, {})) if job else None for job in taken]


def _steps(job_ids: Sequence[UUID]) -> dict[UUID, dict[StepKey, Step]]:
    found: dict[UUID, dict[StepKey, Step]] = {}
    for record in StepRecord.objects.filter(job_id__in=job_ids):
        found.setdefault(record.job_id, {})[StepKey(record.name, record.occurrence)] = Step(record.result, record.fingerprint)
    return found


def record_step(fence: Fence, key: StepKey, step: Step, lines: Sequence[LedgerLine]) -> None:
    """Keep a finished step and what it cost, in one transaction. Raises StaleMove if the attempt no longer holds the job."""
    now = datetime.now(UTC)
    try:
        with transaction.atomic():
            _must_hold(fence)
            StepRecord.objects.create(
                job_id=fence.job_id,
                name=key.name,
                occurrence=key.occurrence,
                fingerprint=step.fingerprint,
                result=step.result,
                attempt=fence.attempt,
                at=now,
            )
            _charge(fence, lines)
    except IntegrityError:
        raise StaleMove(f"Step {key.name} of job {fence.job_id} was recorded by another attempt.") from None


def _must_hold(fence: Fence) -> None:
    """Lock the job's row for this attempt, so that no rescue can come between. Raises StaleMove."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM invocation_job WHERE id = %s AND attempt = %s AND owner = %s FOR UPDATE",
            [fence.job_id, fence.attempt, fence.owner],
        )
        if not cursor.rowcount:
            raise StaleMove(f"Attempt {fence.attempt} no longer holds job {fence.job_id}.")


def _charge(fence: Fence, lines: Sequence[LedgerLine]) -> None:
    """Book the calls, and take them off what the job's later attempts may spend."""
    if lines:
        ledger.append(lines)
        Job.objects.filter(pk=fence.job_id).update(spent_usd=F("spent_usd") + sum(line.cost_usd for line in lines))


def _write(fence: Fence, run: Finished, *, now: datetime) -> None:
    records.write([run], now=now)
    _charge(fence, run.lines)


def complete(fence: Fence, output: Mapping[str, Any], run: Finished) -> None:
    """Store the result and end the job. Raises StaleMove if the attempt no longer holds it, and then nothing is kept."""
    now = datetime.now(UTC)
    with transaction.atomic():
        lifecycle.move_one(Move.COMPLETE, lifecycle.held(fence), now=now, right=lifecycle.HOLDER)
        Result.objects.create(job_id=fence.job_id, output=dict(output), at=now)
        _write(fence, run, now=now)
        firings.follow(UUID(fence.job_id), FiringMove.COMPLETE, now=now)


def fail(fence: Fence, error: RunError, *, failures: int, tries: int, run: Finished) -> None:
    """Charge a failure: back to the queue after a wait, or failed for good. Raises StaleMove."""
    now = datetime.now(UTC)
    verdict = judge(error, failures=failures + 1, tries=tries, now=now, luck=random.random())  # noqa: S311  (jitter)
    fault = Fault.of(error).as_json()
    with transaction.atomic():
        if verdict.next is Next.RETRY:
            lifecycle.move_one(Move.RETRY, lifecycle.held(fence, due_at=verdict.due_at, error=fault), now=now, right=lifecycle.HOLDER)
        else:
            _bury(fence, fault, now=now)
        _write(fence, run, now=now)


def _bury(fence: Fence, fault: Mapping[str, str], *, now: datetime) -> None:
    facts = {"error": fault, "cause": fault["cause"], "reason": fault["code"], "charged": 1}
    lifecycle.move_one(Move.BURY, lifecycle.held(fence, **facts), now=now, right=lifecycle.HOLDER)
    firings.follow(UUID(fence.job_id), FiringMove.FAIL, now=now)


def park(fence: Fence, question: Question, lines: Sequence[LedgerLine]) -> None:
    """Give the slot back until a person has answered. Raises StaleMove."""
    asked = {"key": question.key, "sentence": question.sentence, "schema": dict(question.schema)}
    with transaction.atomic():
        lifecycle.move_one(Move.ASK, lifecycle.held(fence, question=asked), now=datetime.now(UTC), right=lifecycle.HOLDER)
        _charge(fence, lines)


def hand_back(fence: Fence, lines: Sequence[LedgerLine]) -> None:
    """Return a job unfinished because the process drains; charged to nobody. Raises StaleMove."""
    with transaction.atomic():
        lifecycle.move_one(Move.HAND_BACK, lifecycle.held(fence), now=datetime.now(UTC), right=lifecycle.HOLDER)
        _charge(fence, lines)


def confirm_cancel(fence: Fence, run: Finished) -> None:
    """End a job whose run was stopped. Raises StaleMove."""
    now = datetime.now(UTC)
    with transaction.atomic():
        lifecycle.move_one(Move.CONFIRM_CANCEL, lifecycle.held(fence), now=now, right=lifecycle.HOLDER)
        _write(fence, run, now=now)
        firings.follow(UUID(fence.job_id), FiringMove.CANCEL, now=now)


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
        returned = lifecycle.move(Move.HAND_BACK, given, now=now, right=lifecycle.HOLDER)
        stopped = lifecycle.move(Move.CONFIRM_CANCEL, given, now=now, right=lifecycle.HOLDER)
        for job_id in stopped:
            firings.follow(job_id, FiringMove.CANCEL, now=now)
    return len(returned) + len(stopped)


def cancelling(owner: UUID) -> list[str]:
    """Return the jobs of this process that somebody asked to stop."""
    held = Job.objects.filter(owner=owner, state=JobState.CANCELLING)
    return [str(job_id) for job_id in held.values_list("id", flat=True)]
