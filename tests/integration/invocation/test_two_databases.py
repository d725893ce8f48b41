"""The batch path with a second database for batches: tests of their own and those of one database, in a process that has both."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.installation import ROOT

HERE = "tests/integration/invocation"
CHECKS = (
    f"{HERE}/batches/apart.py",
    f"{HERE}/batches/test_rows.py",
    f"{HERE}/batches/test_waves.py",
    f"{HERE}/test_batch_news.py",
    "tests/integration/quota/test_two_ledgers.py",
)
WITHOUT = (
    f"{HERE}/test_worker.py",
    f"{HERE}/api/test_stream_door.py",
    f"{HERE}/test_job_engine.py::test_a_job_runs_to_its_result",
)
NOBODY = "postgresql://nobody@127.0.0.1:1/none"
SMALL = "not however_many"
"""What is asked of long tables is the same in either database."""


def database(name: str) -> str:
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def passed(*words: str, batches: str) -> None:
    """Run tests in a process of its own, whose batches lie elsewhere."""
    around = {**os.environ, "DATABASE_URL": database("gearbox_apart"), "BATCH_DATABASE_URL": batches}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-o", "cache_dir=.pytest_cache/apart", *words]
    done = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, check=False, timeout=580)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.timeout(600)
def test_batches_run_in_a_database_of_their_own() -> None:
    """No second server: two databases of one are as far apart as two servers to whoever wants to span them by a statement."""
    passed(*CHECKS, "-k", SMALL, batches=database("gearbox_apart_batch"))


@pytest.mark.timeout(600)
def test_chats_and_jobs_run_on_while_the_database_of_batches_is_away() -> None:
    passed(*WITHOUT, "--batches-away", batches=NOBODY)
