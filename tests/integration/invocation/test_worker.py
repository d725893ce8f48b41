"""A worker process's heartbeat: it keeps the lease, comes back after it was forgotten, and gives back what broke off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from invocation.domain.jobs import JobState
from invocation.gateways.loop import runs
from invocation.gateways.presence import own_connection
from invocation.models import Job, Process
from invocation.selectors.presence import is_locked
from invocation.services import jobs, processes
from invocation.services.engine import JobEngine
from invocation.services.worker import Worker, slots_of
from tests.integration.invocation.conftest import LIMIT_S, LOOK_S
from tests.integration.invocation.rows import a_job, a_submission, a_tenant
from tests.integration.invocation.trial import DONE
from tests.integration.invocation.workers import ANNOUNCER, wakes

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def worker(settings: Any) -> Iterator[Worker]:
    settings.LEASE_S, settings.HEARTBEAT_S, settings.SLOTS = 5.0, 0.05, {}
    made = Worker("p1", build=lambda owner: JobEngine(owner=owner, announcer=ANNOUNCER, priority_class="p1"))
    made.start()
    yield made
    made.end(timedelta(seconds=1))


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(LOOK_S)


def lease_of(worker: Worker) -> datetime | None:
    return Process.objects.filter(pk=worker.id).values_list("lease_until", flat=True).first()


def test_a_worker_is_known_with_the_slots_of_its_class_and_keeps_its_lease(worker: Worker) -> None:
    row = Process.objects.get(pk=worker.id)
    assert (row.priority_class, row.slots, row.is_draining) == ("p1", 4, False)

    wait_until(lambda: Process.objects.get(pk=worker.id).lease_until > row.lease_until)


def test_slots_are_the_modes_unless_an_operator_says_otherwise(settings: Any) -> None:
    settings.SLOTS = {"p1": 9}

    assert [slots_of(name) for name in ("p0", "p1", "p2", "p3")] == [200, 9, 4, 4]


def test_a_worker_whose_lease_ended_while_it_was_frozen_takes_up_work_again(worker: Worker) -> None:
    Process.objects.filter(pk=worker.id).update(lease_until=datetime.now(UTC) - timedelta(minutes=1))

    wait_until(lambda: (lease_of(worker) or datetime.min.replace(tzinfo=UTC)) > datetime.now(UTC))


def test_a_worker_that_was_forgotten_becomes_known_again(worker: Worker) -> None:
    Process.objects.filter(pk=worker.id).delete()

    wait_until(lambda: lease_of(worker) is not None)


OF_LOCK = "FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = %s AND granted = %s"


def lose_presence(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_terminate_backend(pid) {OF_LOCK}", [number, True])


def locks(number: int, *, is_granted: bool) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {OF_LOCK}", [number, is_granted])
        return int(cursor.fetchone()[0])


def test_a_worker_that_cannot_hold_its_presence_keeps_its_lease_but_does_not_come_back(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as nowhere:
        nowhere.setitem(connection.settings_dict, "PORT", "1")
        lose_presence(worker._presence.number)
        wait_until(lambda: not is_locked(worker._presence.number))
        time.sleep(0.3)
        before = Process.objects.get(pk=worker.id).lease_until
        wait_until(lambda: Process.objects.get(pk=worker.id).lease_until > before)

        processes.end_lease(worker.id, now=datetime.now(UTC))
        ended = lease_of(worker)
        time.sleep(0.5)
        assert lease_of(worker) == ended

    wait_until(lambda: (lease_of(worker) or datetime.min.replace(tzinfo=UTC)) > datetime.now(UTC))
    assert is_locked(worker._presence.number)


def test_a_worker_whose_lost_session_still_holds_its_lock_is_known_by_another(worker: Worker) -> None:
    former = worker._presence.number
    with own_connection() as half_dead:
        inheriting = threading.Thread(target=half_dead.execute, args=("SELECT pg_advisory_lock(%s)", [former]))
        inheriting.start()
        wait_until(lambda: locks(former, is_granted=False) == 1)
        lose_presence(former)
        inheriting.join()

        wait_until(lambda: Process.objects.get(pk=worker.id).presence != former)
        assert is_locked(Process.objects.get(pk=worker.id).presence)


def test_what_a_living_worker_holds_and_does_not_run_is_given_back(worker: Worker) -> None:
    broken, stopping = a_job(JobState.WORKING, owner=worker.id), a_job(JobState.CANCELLING, owner=worker.id)
    others = a_job(JobState.WORKING, owner=uuid4())

    wait_until(lambda: Job.objects.get(pk=broken.pk).state == "queued")
    wait_until(lambda: Job.objects.get(pk=stopping.pk).state == "cancelled")
    assert Job.objects.get(pk=others.pk).state == "working"
    assert (Job.objects.get(pk=broken.pk).losses, Job.objects.get(pk=broken.pk).failures) == (0, 0)


def test_what_runs_is_left_alone_until_somebody_stops_it(worker: Worker) -> None:
    from invocation.services.submission import submit

    given = {"steps": ["look"], "wait": "never"}
    job_id = submit(a_submission(a_tenant(), endpoint="trial-job@1", given=given), now=datetime.now(UTC)).job_id
    runs.loop.call_soon_threadsafe(worker.engine.accept, wakes([job_id]))  # type: ignore[attr-defined]
    wait_until(lambda: DONE["look"] == 1)
    before = lease_of(worker)
    wait_until(lambda: lease_of(worker) != before)

    assert Job.objects.get(pk=job_id).state == "working"
    jobs.cancel(job_id, reason="not wanted", now=datetime.now(UTC))
    wait_until(lambda: Job.objects.get(pk=job_id).state == "cancelled")
