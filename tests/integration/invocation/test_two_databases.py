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
SMALL = "not however_many"
"""What is asked of long tables is the same in either database."""


def database(name: str) -> str:
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


@pytest.mark.timeout(600)
def test_batches_run_in_a_database_of_their_own() -> None:
    """No second server: two databases of one are as far apart as two servers to whoever wants to span them by a statement."""
    both = {**os.environ, "DATABASE_URL": database("gearbox_apart"), "BATCH_DATABASE_URL": database("gearbox_apart_batch")}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-k", SMALL, "-o", "cache_dir=.pytest_cache/apart", *CHECKS]
    done = subprocess.run(words, cwd=ROOT, env=both, capture_output=True, text=True, check=False, timeout=580)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
