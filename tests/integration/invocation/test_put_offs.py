"""Jobs that are put off for what is not their fault: counted since they last came further, and not for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.domain.errors import ProviderDown
from invocation.domain.jobs import LONGEST_PUT_OFF, NEVER_PUT_OFF, JobState, Move, PutOffs
from invocation.models import Job, JobEvent, StepRecord
from invocation.selectors.jobs import put_offs
from invocation.services import attempts
from tests.integration.invocation.finishing import a_run, fence_of
from tests.integration.invocation.rows import a_job

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)
LONG_AGO = NOW - LONGEST_PUT_OFF


def rested(job: Job, seq: int, move: Move, *, at: datetime) -> None:
    state = JobState.INPUT_REQUIRED if move is Move.ASK else JobState.WAITING
    JobEvent.objects.create(job=job, seq=seq, type=f"job.{state}", at=at, data={"move": move})


def fail(job: Job) -> Job:
    attempts.fail(fence_of(job), ProviderDown("Nobody is there."), failures=0, tries=3, run=a_run(job, outcome="failed"))
    return Job.objects.get(pk=job.pk)


def test_put_offs_in_a_row_are_counted_from_the_first() -> None:
    job = a_job(JobState.WORKING)
    for seq, minutes in ((10, 30), (12, 20), (14, 10)):
        rested(job, seq, Move.PUT_OFF, at=NOW - timedelta(minutes=minutes))
        JobEvent.objects.create(job=job, seq=seq + 1, type="job.queued", at=NOW, data={"move": Move.WAKE})

    assert put_offs(job.pk) == PutOffs(3, NOW - timedelta(minutes=30))


def test_a_failure_of_its_own_in_between_is_no_progress() -> None:
    job = a_job(JobState.WORKING)
    rested(job, 10, Move.PUT_OFF, at=LONG_AGO)
    rested(job, 11, Move.RETRY, at=NOW)

    assert put_offs(job.pk) == PutOffs(1, LONG_AGO)


@pytest.mark.parametrize("move", [Move.WAIT, Move.ASK])
def test_a_job_that_came_to_a_wait_of_its_own_begins_anew(move: Move) -> None:
    job = a_job(JobState.WORKING)
    rested(job, 10, Move.PUT_OFF, at=LONG_AGO)
    rested(job, 11, move, at=NOW)

    assert put_offs(job.pk) == NEVER_PUT_OFF


def test_a_job_that_finished_a_step_begins_anew() -> None:
    job = a_job(JobState.WORKING)
    rested(job, 10, Move.PUT_OFF, at=LONG_AGO)
    StepRecord.objects.create(job=job, name="look", occurrence=1, fingerprint="f" * 16, result={}, attempt=1, at=NOW)

    assert put_offs(job.pk) == NEVER_PUT_OFF


def test_an_outage_of_a_day_ends_the_job_and_the_dead_letter_says_why() -> None:
    job = a_job(JobState.WORKING)
    rested(job, 10, Move.PUT_OFF, at=LONG_AGO)
    ended = fail(job)

    assert (ended.state, ended.cause, ended.reason) == ("failed", "provider", "provider_down")
    assert ended.error is not None
    assert ended.error["sentence"].startswith(f"It was put off 1 times since {LONG_AGO:%Y-%m-%d %H:%M} UTC. Nobody is there.")


def test_a_shorter_one_does_not() -> None:
    job = a_job(JobState.WORKING)
    rested(job, 10, Move.PUT_OFF, at=LONG_AGO + timedelta(hours=5))
    waiting = fail(job)

    assert (waiting.state, waiting.failures, waiting.reason) == ("waiting", 0, "provider_down")
    assert waiting.due_at
