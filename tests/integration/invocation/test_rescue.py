"""Making true again what a dead worker, a lost message or the clock left undone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from invocation.domain.jobs import JobState, Move
from invocation.gateways.presence import Presence
from invocation.models import Firing, Job, Process, Schedule
from invocation.selectors.admission import live_slots
from invocation.services import jobs, lifecycle, mending, processes, rescue
from tests.integration.invocation.rows import LEASE, NOW, a_job, a_process, a_turn, snapshot

LATER = NOW + 2 * LEASE
SCHEDULED: dict[str, Any] = {"priority_class": "p2", "mode": "scheduled-trigger", "endpoint": "retention@1"}


def a_firing(job: Job) -> Firing:
    schedule = Schedule.objects.create(
        tenant_id=job.tenant_id, endpoint="retention@1", name="monthly", cron="0 9 1 * *", input={}, next_fire_at=NOW, created_at=NOW
    )
    return Firing.objects.create(schedule=schedule, due_at=NOW, fired_at=NOW, job=job, state="fired")


@pytest.mark.parametrize("gone", ["its lease has ended", "it is forgotten"])
def test_what_a_dead_process_held_is_queued_again(db: None, gone: str) -> None:
    owner = a_process().pk if "lease" in gone else uuid4()
    job = a_job(JobState.WORKING, owner=owner, attempt=4)

    assert rescue.rescue_jobs(now=LATER) == 1
    job.refresh_from_db()
    assert (job.state, job.owner, job.attempt, job.failures, job.reason) == ("queued", None, 4, 0, "lost_worker")


@pytest.mark.parametrize(("was_alone", "losses"), [(False, 0), (True, 1)])
def test_a_loss_is_charged_only_to_a_job_that_was_alone_with_its_worker(db: None, *, was_alone: bool, losses: int) -> None:
    job = a_job(JobState.WORKING, owner=a_process().pk, is_alone=was_alone)

    rescue.rescue_jobs(now=LATER)
    job.refresh_from_db()
    assert (job.state, job.losses, job.failures, job.is_alone) == ("queued", losses, 0, True)


def test_a_living_process_keeps_its_jobs(db: None) -> None:
    job = a_job(JobState.WORKING, owner=a_process().pk)
    before = snapshot(job)

    assert rescue.rescue_jobs(now=NOW + LEASE / 2) == 0
    assert snapshot(job) == before


@pytest.mark.parametrize("move", [Move.RESCUE, Move.BURY])
def test_a_process_that_renews_after_the_sweep_looked_keeps_its_jobs(db: None, move: Move) -> None:
    job = a_job(JobState.WORKING, owner=a_process().pk)
    seen_as_lost = lifecycle.of(job.pk, charged=0, cause="lost_worker", reason="lost_worker", error={})
    before = snapshot(job)

    assert lifecycle.move(move, [seen_as_lost], now=NOW + LEASE / 2, right=rescue.LEASE_ENDED) == set()
    assert snapshot(job) == before


def test_a_job_that_wakes_after_the_sweep_looked_is_left_to_its_new_time(db: None) -> None:
    admitted_again = a_job(JobState.DISPATCHED, attempt=2, dispatched_at=NOW)
    given = lifecycle.of(admitted_again.pk, attempt=1, due_at=LATER)
    fresh = lifecycle.of(admitted_again.pk, attempt=2, due_at=NOW)

    assert lifecycle.move(Move.RECALL, [given], now=LATER, right=rescue.MESSAGE_LOST) == set()
    assert lifecycle.move(Move.RECALL, [fresh], now=LATER, right=rescue.MESSAGE_LOST) == set()


def test_a_job_that_cost_three_workers_is_poison(db: None) -> None:
    job = a_job(JobState.WORKING, owner=a_process("p2").pk, losses=2, is_alone=True, **SCHEDULED)
    firing = a_firing(job)

    assert rescue.rescue_jobs(now=LATER) == 1
    job.refresh_from_db()
    firing.refresh_from_db()
    assert (job.state, job.cause, job.losses, job.failures, (job.error or {})["code"]) == ("failed", "lost_worker", 3, 0, "lost_worker")
    assert firing.state == "failed"


def test_whoever_ran_beside_the_crash_of_another_is_never_poison(db: None) -> None:
    job = a_job(JobState.WORKING, owner=a_process().pk, losses=2)

    assert rescue.rescue_jobs(now=LATER) == 1
    job.refresh_from_db()
    assert (job.state, job.losses, job.is_alone) == ("queued", 2, True)


def test_a_job_that_was_to_stop_is_cancelled_when_its_worker_dies(db: None) -> None:
    job = a_job(JobState.CANCELLING, owner=a_process("p2").pk, losses=2, reason="not wanted", **SCHEDULED)
    firing = a_firing(job)

    assert rescue.rescue_jobs(now=LATER) == 1
    job.refresh_from_db()
    firing.refresh_from_db()
    assert (job.state, job.reason, firing.state) == ("cancelled", "not wanted", "cancelled")


def test_an_admitted_job_that_nobody_claims_is_queued_again(db: None) -> None:
    lost, fresh = a_job(JobState.DISPATCHED), a_job(JobState.DISPATCHED, dispatched_at=NOW + rescue.MESSAGE_TRUSTED)

    assert rescue.recall_lost_messages(now=NOW + rescue.MESSAGE_TRUSTED + timedelta(seconds=1)) == 1
    lost.refresh_from_db()
    fresh.refresh_from_db()
    assert (lost.state, lost.reason, lost.losses, fresh.state) == ("queued", "lost_message", 0, "dispatched")


def test_waiting_jobs_wake_when_they_are_due_and_not_before(db: None) -> None:
    due, early = a_job(JobState.WAITING, due_at=NOW), a_job(JobState.WAITING, due_at=LATER)

    assert jobs.wake_due(now=NOW) == 1
    due.refresh_from_db()
    early.refresh_from_db()
    assert (due.state, due.due_at, due.queued_at, early.state) == ("queued", None, NOW, "waiting")


def test_a_queued_job_that_nobody_wants_any_more_expires(db: None) -> None:
    late, timely = a_job(expires_at=NOW, **SCHEDULED), a_job(expires_at=LATER)
    firing = a_firing(late)

    assert jobs.expire_due(now=NOW) == 1
    late.refresh_from_db()
    timely.refresh_from_db()
    firing.refresh_from_db()
    assert (late.state, late.reason, late.finished_at, timely.state, firing.state) == ("cancelled", "expired", NOW, "queued", "cancelled")


def test_an_admitted_job_that_has_expired_is_not_claimed_and_ends_as_expired(db: None) -> None:
    late, timely = a_job(JobState.DISPATCHED, expires_at=NOW), a_job(JobState.DISPATCHED, expires_at=LATER)
    given = [lifecycle.of(job.pk, attempt=job.attempt, owner=str(uuid4())) for job in (late, timely)]

    assert lifecycle.claim(given, told="moved.id", now=NOW) == [(timely.pk,)]
    assert jobs.expire_due(now=NOW) == 1
    late.refresh_from_db()
    assert (late.state, late.reason, late.attempt) == ("cancelled", "expired", 0)


def test_what_expires_together_ends_in_one_sweep_however_many_pages_it_fills(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "EXPIRED_AT_ONCE", 2)
    for _ in range(5):
        a_job(expires_at=NOW)

    assert mending.expire_queued(NOW) == 5


def test_a_lease_is_renewed_only_while_it_holds(db: None) -> None:
    process = a_process()

    assert processes.renew(process.pk, now=NOW, lease=2 * LEASE)
    assert not processes.renew(process.pk, now=NOW + 3 * LEASE, lease=LEASE)
    assert processes.revive(process.pk, now=NOW + 3 * LEASE, lease=LEASE)
    assert processes.renew(process.pk, now=NOW + 3 * LEASE, lease=LEASE)
    assert not processes.revive(uuid4(), now=NOW, lease=LEASE)


def test_a_process_that_drains_lets_nothing_new_come_and_keeps_what_runs(db: None) -> None:
    process = a_process()
    job = a_job(JobState.WORKING, owner=process.pk)
    processes.drain(process.pk)

    assert live_slots(now=NOW)["p1"] == 0
    assert rescue.rescue_jobs(now=NOW) == 0
    job.refresh_from_db()
    assert job.state == "working"


def test_a_dead_process_is_forgotten_only_when_it_holds_nothing(db: None) -> None:
    idle, of_a_job, of_a_turn, alive = a_process(), a_process(), a_process("p0"), a_process(lease=10 * LEASE)
    a_job(JobState.WORKING, owner=of_a_job.pk)
    a_turn(owner=of_a_turn.pk)

    assert rescue.forget_the_dead(now=LATER) == 0
    rescue.forget_the_dead(now=NOW + LEASE + timedelta(minutes=1, seconds=1))
    assert set(Process.objects.values_list("pk", flat=True)) == {of_a_job.pk, of_a_turn.pk, alive.pk}
    assert idle.pk not in {of_a_job.pk, of_a_turn.pk, alive.pk}


def registered(presence: Presence) -> UUID:
    process_id, started = uuid4(), datetime.now(UTC) - timedelta(seconds=5)
    processes.register(process_id, priority_class="p1", slots=4, presence=presence.number, now=started, lease=timedelta(minutes=5))
    return process_id


@pytest.fixture
def presence() -> Iterator[Presence]:
    held = Presence()
    held.hold()
    yield held
    held.leave()


@pytest.fixture
def server_is_old(transactional_db: None) -> None:
    """The server has been up for longer than the time in which processes come back after its restart."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT greatest(0, 10.5 - extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()))::float")
        time.sleep(cursor.fetchone()[0])


@pytest.mark.usefixtures("server_is_old")
def test_a_process_is_dead_once_its_database_session_is_gone(presence: Presence) -> None:
    process_id, watch = registered(presence), processes.DeathWatch()
    assert watch.look(now=datetime.now(UTC)) == []

    presence.leave()
    end = time.monotonic() + 10
    found: list[UUID] = []
    while not found and time.monotonic() < end:
        found = watch.look(now=datetime.now(UTC))

    assert found == [process_id]
    assert watch.look(now=datetime.now(UTC)) == []
    assert live_slots(now=datetime.now(UTC))["p1"] == 0


@pytest.mark.usefixtures("server_is_old")
def test_a_process_that_just_started_is_given_a_moment_to_take_its_lock() -> None:
    now = datetime.now(UTC)
    processes.register(uuid4(), priority_class="p1", slots=4, presence=7, now=now, lease=LEASE)

    watch = processes.DeathWatch()
    assert watch.look(now=now + timedelta(seconds=0.5)) == watch.look(now=now + timedelta(seconds=0.6)) == []
    assert watch.look(now=now + timedelta(seconds=1.5)) == []
    assert len(watch.look(now=now + timedelta(seconds=1.6))) == 1


@pytest.mark.usefixtures("server_is_old")
def test_a_session_that_is_back_at_the_second_look_was_no_death(presence: Presence) -> None:
    process_id, watch = registered(presence), processes.DeathWatch()
    presence.leave()
    until_missing(watch)
    presence.hold()

    assert watch.look(now=datetime.now(UTC)) == []
    assert Process.objects.get(pk=process_id).lease_until > datetime.now(UTC)


def until_missing(watch: processes.DeathWatch) -> None:
    """PostgreSQL lets go of a closed session's lock a moment later: one look that misses it, not two."""
    end = time.monotonic() + 10
    while not processes._missing(now=datetime.now(UTC)):
        assert time.monotonic() < end
    assert watch.look(now=datetime.now(UTC)) == []


@contextmanager
def just_restarted() -> Iterator[None]:
    """To this transaction the server says that it started now."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA restarted")
        cursor.execute(
            "CREATE FUNCTION restarted.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql AS 'SELECT clock_timestamp()'"
        )
        cursor.execute("SET LOCAL search_path TO restarted, public, pg_catalog")
        yield
        transaction.set_rollback(True)


@pytest.mark.usefixtures("server_is_old")
def test_a_restart_of_the_database_is_not_taken_for_anybodys_death(presence: Presence) -> None:
    process_id = registered(presence)
    presence.leave()
    watch = processes.DeathWatch()
    with just_restarted():
        assert watch.look(now=datetime.now(UTC)) == watch.look(now=datetime.now(UTC)) == []

    assert Process.objects.get(pk=process_id).lease_until > datetime.now(UTC)


def test_a_presence_that_lost_its_session_is_taken_again(transactional_db: None, presence: Presence) -> None:
    from invocation.selectors.presence import is_locked

    assert is_locked(presence.number)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = %s",
            [presence.number],
        )
    presence.hold()

    assert is_locked(presence.number)


def test_a_question_that_nobody_answered_expires_with_its_job(db: None) -> None:
    asked = a_job(JobState.INPUT_REQUIRED, expires_at=NOW)
    other = a_job(JobState.INPUT_REQUIRED, expires_at=NOW + timedelta(seconds=1))

    assert jobs.expire_due(now=NOW) == 1
    assert [Job.objects.get(pk=job.pk).state for job in (asked, other)] == ["cancelled", "input_required"]
