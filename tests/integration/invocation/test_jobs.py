"""What people do to jobs: cancel in every state."""

from __future__ import annotations

from datetime import timedelta

import pytest

from invocation.domain.errors import StaleMove
from invocation.domain.jobs import IDLE, TERMINAL, JobState
from invocation.gateways.presence import STOP_CHANNEL, own_connection
from invocation.services import attempts, jobs
from tests.integration.invocation.rows import NOW, a_job, snapshot

LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize("state", sorted(IDLE))
def test_a_job_that_nobody_runs_is_cancelled_at_once(db: None, state: JobState) -> None:
    job = a_job(state)
    jobs.cancel(job.pk, reason="not wanted", now=LATER)
    job.refresh_from_db()

    assert (job.state, job.reason, job.finished_at, job.questions, job.due_at) == ("cancelled", "not wanted", LATER, None, None)


def test_a_job_that_runs_is_asked_to_stop_and_its_worker_hears_it(transactional_db: None) -> None:
    job = a_job(JobState.WORKING)
    with own_connection() as listening:
        listening.execute(f"LISTEN {STOP_CHANNEL}")
        jobs.cancel(job.pk, reason="not wanted", now=LATER)
        heard = [word.payload for word in listening.notifies(timeout=10, stop_after=1)]
    job.refresh_from_db()

    assert (job.state, job.finished_at, heard) == ("cancelling", None, [str(job.pk)])
    assert job.owner is not None
    assert attempts.cancelling(job.owner) == [str(job.pk)]


@pytest.mark.parametrize("state", [JobState.CANCELLING, JobState.CANCELLED])
def test_a_second_cancel_changes_nothing(db: None, state: JobState) -> None:
    job = a_job(state, reason="the first word")
    before = snapshot(job)
    jobs.cancel(job.pk, reason="the second word", now=LATER)

    assert snapshot(job) == before


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.FAILED])
def test_what_ended_another_way_cannot_be_cancelled(db: None, state: JobState) -> None:
    job = a_job(state)
    before = snapshot(job)
    with pytest.raises(StaleMove, match=str(state)):
        jobs.cancel(job.pk, reason="too late", now=LATER)

    assert snapshot(job) == before


def test_every_state_is_idle_at_work_or_ended() -> None:
    assert set(JobState) == IDLE | {JobState.WORKING, JobState.CANCELLING} | TERMINAL
