"""What people do to jobs: cancel in every state, redrive what failed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction

from invocation.domain.errors import InputInvalid, StaleMove
from invocation.domain.jobs import IDLE, TERMINAL, JobState
from invocation.gateways.presence import STOP_CHANNEL, own_connection
from invocation.models import Job
from invocation.selectors.jobs import owned_job
from invocation.services import attempts, jobs
from tests.integration.invocation.conftest import LIMIT_S, LOOK_S
from tests.integration.invocation.rows import NOW, a_job, snapshot, told

LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize("state", sorted(IDLE))
def test_a_job_that_nobody_runs_is_cancelled_at_once(db: None, state: JobState) -> None:
    job = a_job(state)
    jobs.cancel(job.pk, reason="not wanted", now=LATER)
    job.refresh_from_db()

    assert (job.state, job.reason, job.finished_at, job.question, job.due_at) == ("cancelled", "not wanted", LATER, None, None)


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


def test_a_redrive_is_a_new_job_and_the_old_stays_failed_and_names_it(db: None) -> None:
    failed = a_job(JobState.FAILED, subject="r-001", metadata={"a": "b"}, ordering_key="lane", idempotency_key="k-1", failures=3)
    before = snapshot(failed)
    accepted = jobs.redrive(failed.pk, now=LATER)
    fresh = Job.objects.get(pk=accepted.job_id)

    assert snapshot(failed) == before
    assert owned_job(failed.tenant_id, failed.pk).successor == fresh
    assert (fresh.redrive_of_id, fresh.state, fresh.attempt, fresh.failures, fresh.idempotency_key) == (failed.pk, "queued", 0, 0, None)
    assert (fresh.input, fresh.subject, fresh.metadata, fresh.ordering_key) == (failed.input, "r-001", {"a": "b"}, "lane")
    assert fresh.cost_cap_usd == failed.cost_cap_usd
    assert told(fresh) == [(1, "job.queued")]


def test_a_redrive_may_bring_an_edited_input_which_is_checked(db: None) -> None:
    failed = a_job(JobState.FAILED)
    with pytest.raises(InputInvalid) as refused:
        jobs.redrive(failed.pk, now=LATER, edited={"text": 7})
    accepted = jobs.redrive(failed.pk, now=LATER, edited={"text": "better"})

    assert refused.value.facts["field"] == "/input/text"
    assert Job.objects.get(pk=accepted.job_id).input == {"text": "better"}


def test_a_job_is_redriven_once(db: None) -> None:
    failed = a_job(JobState.FAILED)
    first = jobs.redrive(failed.pk, now=LATER)
    with pytest.raises(StaleMove, match=str(first.job_id)):
        jobs.redrive(failed.pk, now=LATER)

    assert Job.objects.count() == 2


def test_redrives_that_race_make_one_job(transactional_db: None) -> None:
    failed = a_job(JobState.FAILED)

    def racing(_: int) -> UUID | None:
        try:
            return jobs.redrive(failed.pk, now=LATER).job_id
        except StaleMove:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=failed.pk)
            begun = [pool.submit(racing, number) for number in range(3)]
            _wait_for_blocked(3)
        made = [each.result(20) for each in begun]

    assert made.count(None) == 2
    assert Job.objects.count() == 2


def _wait_for_blocked(count: int) -> None:
    """Return when so many sessions wait for a lock; asked outside the transaction, which would see one moment only."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    end = time.monotonic() + LIMIT_S
    with own_connection() as asking:
        while (asking.execute(waiting).fetchone() or (0,))[0] < count:
            assert time.monotonic() < end, "nobody waited for the lock"
            time.sleep(LOOK_S)


def test_the_database_lets_a_job_have_one_successor(db: None) -> None:
    failed = a_job(JobState.FAILED)
    a_job(redrive_of=failed)
    with pytest.raises(IntegrityError), transaction.atomic():
        a_job(redrive_of=failed)


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.FAILED])
def test_only_a_failed_job_can_be_redriven(db: None, state: JobState) -> None:
    job = a_job(state)
    with pytest.raises(StaleMove, match="only a failed job"):
        jobs.redrive(job.pk, now=LATER)

    assert Job.objects.count() == 1


def test_every_state_is_idle_at_work_or_ended() -> None:
    assert set(JobState) == IDLE | {JobState.WORKING, JobState.CANCELLING} | TERMINAL
