"""A provider that is out, over real HTTP: chat falls back at once, jobs park and charge nobody, rows wait; all recover."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from invocation.models import Batch, Job
from invocation.services import jobs
from quota.domain.limits import UNKNOWN_MODEL
from quota.gateways import windows
from tests.installation import ROOT, free_port
from tests.integration.invocation.batches.planned import Workers, errors, opened, results
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.hearing import asked, played
from tests.integration.invocation.test_job_engine import played as job_played
from tests.integration.invocation.test_job_engine import queued

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]
KEY = "sk-for-the-simulator-only"
MODEL = ("openai", "gearbox-offline-standard")
QUESTION = {"model": "What is new?"}
WITHIN_S = 40.0


@dataclass
class Served:
    """The simulator as a server of its own, always on the same port."""

    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    def become(self, *options: str) -> None:
        self.end()
        pace = ("--first-token-ms", "0", "--token-ms", "0")
        command = [sys.executable, "manage.py", "simulate_provider", "--port", str(self.port), "--api-key", KEY, *pace, *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline().startswith("listening")

    def end(self) -> None:
        if self.process:
            with self.process as ending:
                ending.terminate()
            self.process = None


@pytest.fixture
def provider(settings: Any) -> Iterator[Served]:
    served = Served()
    settings.MODEL_PROVIDER, settings.MODEL_API_KEY = "openai", KEY
    settings.MODEL_BASE_URL = f"http://127.0.0.1:{served.port}/v1"
    settings.MODEL_TIERS = {"standard": MODEL[1], "economy": MODEL[1]}
    yield served
    served.end()


def breaker() -> str:
    return windows.read({MODEL: UNKNOWN_MODEL})[MODEL].breaker


def play_until(on_loop: OnLoop[Any], job_id: UUID, state: str) -> Job:
    """Play the job, as often as it parks, until it is in the state."""
    end = time.monotonic() + WITHIN_S
    while True:
        job: Job = job_played(on_loop, job_id)
        if job.state == state:
            return job
        assert time.monotonic() < end, (job.state, job.reason, job.error)
        jobs.wake_due(now=datetime.now(UTC) + timedelta(hours=1))


def break_it(provider: Served, on_loop: OnLoop[Any]) -> None:
    provider.become("--fault-500", "1.0")
    for _ in range(5):
        job_played(on_loop, queued(QUESTION))
    assert breaker() == "open"


def test_jobs_of_a_provider_that_is_out_park_charged_to_nobody_and_complete_when_it_is_back(provider: Served, on_loop: OnLoop[Any]) -> None:
    break_it(provider, on_loop)
    job_id = queued(QUESTION)
    for attempt in (1, 2, 3, 4):
        job = job_played(on_loop, job_id)
        assert (job.state, job.failures, job.attempt) == ("waiting", 0, attempt)
        jobs.wake_due(now=datetime.now(UTC) + timedelta(hours=1))
    assert job.reason == "model_unavailable"

    provider.become()
    assert play_until(on_loop, job_id, "completed").failures == 0
    assert breaker() == "closed"


@pytest.mark.parametrize("outage", ["unreachable", "overloaded"])
def test_an_outage_on_a_quiet_installation_takes_none_of_a_jobs_tries(provider: Served, on_loop: OnLoop[Any], outage: str) -> None:
    """A single job meets it more often than it has tries, and less often in a row than opens the breaker."""
    if outage == "overloaded":
        provider.become("--fault-529", "1.0")
    job_id = queued(QUESTION)
    for attempt in (1, 2, 3, 4):
        assert breaker() == "closed"
        job = job_played(on_loop, job_id)
        assert (job.state, job.failures, job.attempt, job.reason) == ("waiting", 0, attempt, "provider_down")
        jobs.wake_due(now=datetime.now(UTC) + timedelta(hours=1))

    provider.become()
    assert play_until(on_loop, job_id, "completed").failures == 0


def test_a_probe_that_fails_is_not_charged_to_the_job_that_carried_it(provider: Served, on_loop: OnLoop[Any]) -> None:
    break_it(provider, on_loop)
    job_id, end = queued(QUESTION), time.monotonic() + WITHIN_S
    while (job := job_played(on_loop, job_id)).reason == "model_unavailable":
        assert time.monotonic() < end
        jobs.wake_due(now=datetime.now(UTC) + timedelta(hours=1))

    assert (job.state, job.failures, job.reason) == ("waiting", 0, "provider_unavailable")


def test_chat_of_a_provider_that_is_out_gets_its_escape_hatch_without_a_call(provider: Served, on_loop: OnLoop[Any]) -> None:
    break_it(provider, on_loop)
    provider.end()
    turn = asked(QUESTION)
    last = played(on_loop, turn)[-1]

    assert (last.type, last.data["code"]) == ("turn.failed", "model_unavailable")
    assert last.data["escape"]["text"] == "Later, then."
    assert last.data["duration_ms"] < 2_000


def test_rows_wait_for_a_provider_that_is_out_and_none_ends_as_an_error(provider: Served, workers: Workers) -> None:
    provider.become("--fault-500", "1.0")
    mending = threading.Thread(target=_mend_when_open, args=(provider,))
    mending.start()
    lines = [{"row_id": f"row-{number}", **QUESTION, "says": []} for number in range(40)]
    batch = workers.finish(opened(lines, shards=1))
    mending.join()

    assert not errors(batch)
    assert len(results(batch)) == 40


def test_rows_that_waited_as_long_as_a_row_may_are_put_off_and_run_when_the_provider_is_back(
    provider: Served, workers: Workers, settings: Any
) -> None:
    settings.ROWS_OF_A_SHARD = 16
    lines = [{"row_id": f"row-{number}", **QUESTION, "says": []} for number in range(40)]
    batch = opened(lines, shards=1)
    Batch.objects.update(row_latency_ms=300)
    [shard] = batch.shards.all()

    assert workers.run(shard.pk) == ["away"]
    shard.refresh_from_db()
    assert (shard.state, shard.position, shard.failed_rows, shard.failures) == ("queued", 0, 0, 0)

    provider.become()
    batch = workers.finish(batch)
    assert not errors(batch)
    assert len(results(batch)) == 40


def _mend_when_open(provider: Served) -> None:
    end = time.monotonic() + WITHIN_S
    while breaker() != "open" and time.monotonic() < end:
        time.sleep(0.02)
    provider.become()


def test_a_429_with_retry_after_holds_everybody_back_and_nobody_is_charged(provider: Served, on_loop: OnLoop[Any]) -> None:
    provider.become("--fault-429", "1.0", "--retry-after-s", "300")
    job_played(on_loop, queued(QUESTION))
    reading = windows.read({MODEL: UNKNOWN_MODEL})[MODEL]
    turn = asked(QUESTION)
    last = played(on_loop, turn)[-1]

    assert reading.ceiling < 0.6
    assert reading.lowered_until
    assert reading.lowered_until > datetime.now(UTC) + timedelta(seconds=200)
    assert (last.type, last.data["code"]) == ("turn.failed", "quota_exceeded")
