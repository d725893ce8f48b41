"""A worker as a process: it ends rather than hold work that it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from invocation.models import Process
from invocation.services.worker import EX_SOFTWARE
from invocation.tasks.process import EX_UNAVAILABLE

ROOT = Path(__file__).resolve().parents[3]
BLOCKED = """
import time, django
django.setup()
from invocation.gateways.loop import runs
from invocation.services.engine import JobEngine
from invocation.services.worker import Worker
worker = Worker("p1", build=lambda owner: JobEngine(owner=owner, announcer=None))
worker.start()
print("registered", flush=True)
if {blocks}:
    runs.loop.call_soon_threadsafe(time.sleep, 60)
time.sleep(3)
worker._leaving.set()
"""


def environment(**given: str) -> dict[str, str]:
    found = connection.settings_dict
    url = f"postgresql://{found['USER']}:{found['PASSWORD']}@{found['HOST']}:{found['PORT']}/{found['NAME']}"
    quick = {"LEASE_S": "1", "HEARTBEAT_S": "0.3", "CELERY_SKIP_CHECKS": "1", "DJANGO_SETTINGS_MODULE": "config.settings"}
    return {**os.environ, **quick, "DATABASE_URL": url, "BROKER_URL": settings.BROKER_URL, **given}


def ended(words: list[str], **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, env=environment(**given), capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("blocks", "code"), [(True, EX_SOFTWARE), (False, 0)])
def test_a_worker_whose_loop_stands_still_ends_so_that_its_leases_do(*, blocks: bool, code: int) -> None:
    process = ended([sys.executable, "-W", "ignore", "-c", BLOCKED.format(blocks=blocks)])

    assert "registered" in process.stdout
    assert process.returncode == code, process.stderr
    assert Process.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_cannot_register_ends_instead_of_taking_messages() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "config.celery", "worker", "-P", "threads", "-c", "1", "-Q", "p1"]
    process = ended(command, DATABASE_URL="postgresql://a:b@127.0.0.1:1/c")

    assert process.returncode == EX_UNAVAILABLE, process.stderr
    assert "worker_cannot_register" in process.stdout + process.stderr
