"""A worker as a process: it ends rather than hold work that it cannot run."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from invocation.gateways import declared
from invocation.models import Job, Process, RunRecord
from invocation.services.submission import submit
from invocation.services.worker import EX_SOFTWARE
from invocation.tasks.process import EX_UNAVAILABLE
from tests.integration.invocation.crew import DECLARED, ROOT, crew, environment, wait_until
from tests.integration.invocation.rows import a_submission, a_tenant

BLOCKED = """
import time, django
django.setup()
from invocation.gateways.loop import runs
from invocation.services.engine import JobEngine
from invocation.services.worker import Worker
worker = Worker("p1", build=lambda owner: JobEngine(owner=owner, announcer=None, priority_class="p1"))
worker.start()
print("registered", flush=True)
runs.loop.call_soon_threadsafe(time.sleep, {blocked_s})
time.sleep(5)
worker._leaving.set()
"""


def ended(words: list[str], **given: str) -> subprocess.CompletedProcess[str]:
    quick = {"LEASE_S": "2", "HEARTBEAT_S": "0.9", **given}
    return subprocess.run(words, cwd=ROOT, env=environment(**quick), capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("blocked_s", "code"), [(60, EX_SOFTWARE), (3.3, 0), (0, 0)])
def test_a_worker_whose_loop_stands_still_ends_so_that_its_leases_do(blocked_s: float, code: int) -> None:
    """Not one that stands still for little longer than a lease, as after a freeze: it is asked once more, for a beat."""
    process = ended([sys.executable, "-W", "ignore", "-c", BLOCKED.format(blocked_s=blocked_s)])

    assert "registered" in process.stdout
    assert process.returncode == code, process.stderr
    assert Process.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_cannot_register_ends_instead_of_taking_messages() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "config.celery", "worker", "-c", "1", "-Q", "p1"]
    process = ended(command, DATABASE_URL="postgresql://a:b@127.0.0.1:1/c")

    assert process.returncode == EX_UNAVAILABLE, process.stderr
    assert "worker_cannot_register" in process.stdout + process.stderr


@pytest.fixture
def declares_harm(settings: Any) -> Iterator[None]:
    settings.ENDPOINT_MODULES = tuple(DECLARED.split(","))
    declared.book.cache_clear()
    yield
    declared.book.cache_clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("declares_harm")
def test_a_frozen_worker_loses_its_jobs_with_its_lease_and_then_can_write_nothing(tmp_path: Path) -> None:
    with crew(tmp_path, LEASE_S="2", HEARTBEAT_S="0.5") as staff:
        staff.dispatcher()
        frozen = staff.worker("frozen")
        wait_until(lambda: Process.objects.count() == 1)
        submission = a_submission(a_tenant("house"), endpoint="harmful-job@1", given={"takes_s": 3})
        job_id = submit(submission, now=datetime.now(UTC)).job_id
        wait_until(lambda: Job.objects.filter(pk=job_id, state="working").exists())
        frozen.send_signal(signal.SIGSTOP)
        staff.worker("awake")
        wait_until(lambda: Job.objects.filter(pk=job_id, state="working", attempt=2).exists())
        frozen.send_signal(signal.SIGCONT)
        wait_until(lambda: Job.objects.filter(pk=job_id, state="completed").exists())
        wait_until(lambda: "fenced_out" in staff.log("frozen"))

        job = Job.objects.get(pk=job_id)
        assert (job.attempt, job.losses, job.failures) == (2, 0, 0)
        assert (job.result.output or {})["text"] != str(frozen.pid)
        assert RunRecord.objects.filter(source_id=job_id).count() == 1
