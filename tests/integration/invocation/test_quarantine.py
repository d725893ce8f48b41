"""Quarantine with real processes: whoever kills its worker dies alone, and is the only one that is charged."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from django.db import transaction

from invocation.gateways import declared
from invocation.models import Job, Process
from invocation.services import jobs
from invocation.services.submission import submit
from tests.integration.invocation.crew import DECLARED, Crew, crew, descendants, wait_until
from tests.integration.invocation.rows import a_submission, a_tenant

pytestmark = pytest.mark.django_db(transaction=True)
Submit = Callable[..., UUID]


@pytest.fixture
def submitted(settings: Any) -> Iterator[Submit]:
    """Return a function that submits a harmful job of one tenant; `is_alone` as if a worker had been lost under it."""
    settings.ENDPOINT_MODULES = tuple(DECLARED.split(","))
    declared.book.cache_clear()
    tenant = a_tenant("house")

    def one(*, is_alone: bool = False, **given: Any) -> UUID:
        with transaction.atomic():
            job_id = submit(a_submission(tenant, endpoint="harmful-job@1", given=given), now=datetime.now(UTC)).job_id
            Job.objects.filter(pk=job_id).update(is_alone=is_alone)
        return job_id

    yield one
    declared.book.cache_clear()


@pytest.fixture
def staff(tmp_path: Path) -> Iterator[Crew]:
    with crew(tmp_path, SLOTS="p1=4") as started:
        started.dispatcher()
        yield started


def workers() -> int:
    return Process.objects.filter(slots__gt=0, lease_until__gt=datetime.now(UTC)).count()


def all_ended() -> bool:
    return not Job.objects.exclude(state__in=["completed", "failed", "cancelled"]).exists()


def alone_at_work(job_id: UUID) -> Callable[[], bool]:
    return lambda: Job.objects.filter(pk=job_id, state="working", is_alone=True).exists()


def quarantined(job_id: UUID) -> psutil.Process:
    owner = Job.objects.get(pk=job_id).owner
    assert owner is not None
    return psutil.Process(Process.objects.get(pk=owner, slots=0).pid)


def is_there(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def restarted(staff: Crew, killed: dict[str, subprocess.Popen[bytes]]) -> None:
    """Be the supervisor: whoever ended is started anew."""
    for name, process in killed.items():
        if process.poll() is not None:
            killed[name] = staff.worker(name)


def test_one_killer_among_200_innocents_dies_alone(staff: Crew, submitted: Submit) -> None:
    crewed = {name: staff.worker(name) for name in ("one", "two")}
    wait_until(lambda: workers() == 2)
    innocents = [submitted(takes_s=0.05) for _ in range(100)]
    killer = submitted(kills=True, takes_s=0.02)
    innocents += [submitted(takes_s=0.05) for _ in range(100)]

    def over() -> bool:
        restarted(staff, crewed)
        return all_ended()

    wait_until(over, within_s=120)
    dead = Job.objects.get(pk=killer)
    assert (dead.state, dead.cause, dead.losses, dead.failures, dead.attempt) == ("failed", "lost_worker", 3, 0, 4)
    assert set(Job.objects.filter(pk__in=innocents).values_list("state", "losses", "failures")) == {("completed", 0, 0)}
    assert all(process.poll() is None for process in crewed.values())


def test_a_job_in_quarantine_has_a_process_of_its_own_that_ends_with_it(staff: Crew, submitted: Submit) -> None:
    worker = staff.worker("one")
    wait_until(lambda: workers() == 1)
    first = submitted()
    wait_until(all_ended)
    alone = [submitted(is_alone=True) for _ in range(2)]
    wait_until(all_ended)

    pids = [(Job.objects.get(pk=job_id).result.output or {})["text"] for job_id in (first, *alone)]
    assert pids[0] == str(worker.pid)
    assert len(set(pids)) == 3
    wait_until(lambda: Process.objects.count() == 1)


def test_the_template_has_one_thread_and_no_connection(staff: Crew) -> None:
    worker = staff.worker("one")
    wait_until(lambda: workers() == 1)
    wait_until(lambda: len(descendants(worker.pid)) == 1)
    [template] = descendants(worker.pid)
    wait_until(lambda: template.cpu_percent(0.3) == 0)
    assert (template.num_threads(), template.net_connections()) == (1, [])


def test_a_killed_process_of_one_job_harms_nobody_else(staff: Crew, submitted: Submit) -> None:
    worker = staff.worker("one")
    wait_until(lambda: workers() == 1)
    alone, beside = submitted(is_alone=True, takes_s=4), submitted(takes_s=4)
    wait_until(alone_at_work(alone))
    quarantined(alone).kill()
    wait_until(lambda: Job.objects.get(pk=alone).attempt == 2)
    wait_until(all_ended)

    assert worker.poll() is None
    assert list(Job.objects.filter(pk__in=[alone, beside]).order_by("pk").values_list("state", "attempt", "losses")) == [
        ("completed", 2, 1),
        ("completed", 1, 0),
    ]


def test_a_cancel_reaches_a_job_in_quarantine(staff: Crew, submitted: Submit) -> None:
    staff.worker("one")
    wait_until(lambda: workers() == 1)
    job_id = submitted(is_alone=True, takes_s=60)
    wait_until(alone_at_work(job_id))
    jobs.cancel(job_id, reason="not wanted", now=datetime.now(UTC))
    wait_until(all_ended)

    assert Job.objects.get(pk=job_id).state == "cancelled"


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGKILL])
def test_what_runs_alone_is_handed_back_when_its_worker_goes(staff: Crew, submitted: Submit, word: signal.Signals) -> None:
    worker = staff.worker("one")
    wait_until(lambda: workers() == 1)
    job_id = submitted(is_alone=True, takes_s=60)
    wait_until(alone_at_work(job_id))
    alone = quarantined(job_id)
    worker.send_signal(word)
    worker.wait(timeout=30)
    handed_back_before_it_ended = Job.objects.get(pk=job_id).state == "queued"
    wait_until(lambda: Job.objects.get(pk=job_id).state == "queued")

    job = Job.objects.get(pk=job_id)
    assert (job.reason, job.losses, job.is_alone) == ("drained", 0, True)
    assert handed_back_before_it_ended is (word == signal.SIGTERM)
    wait_until(lambda: not is_there(alone))


def test_more_jobs_than_places_wait_their_turn_and_are_not_recalled(staff: Crew, submitted: Submit) -> None:
    """As if another worker lived: the messages for its slots, too, went to this one."""
    staff.worker("one")
    wait_until(lambda: workers() == 1)
    Process.objects.filter(slots=4).update(slots=6)
    alone = [submitted(is_alone=True, takes_s=takes_s) for takes_s in (7, 7, 7, 7, 0, 0)]
    wait_until(all_ended)

    assert list(Job.objects.filter(pk__in=alone).values_list("state", "attempt").distinct()) == [("completed", 1)]
    assert not Job.objects.filter(events__data__move="recall").exists()
