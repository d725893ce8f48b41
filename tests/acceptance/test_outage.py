"""A provider that nobody can reach for a while: chat falls back within its budget, a job and a batch wait and go on by themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.speaking import BATCH_S, ENDED, Consumer, until
from tests.installation import ROOT, Installation, free_port, start

KEY = "sk-for-the-simulator-only"
TIERS = "standard=gearbox-offline-standard,economy=gearbox-offline-economy"
ASKED = {"text": "Recommend a finished seinen thriller"}
BUDGET_MS = 6_000
OUT_FOR_S = 15.0
ROWS = 12


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def alone(port: int, tmp_path: Path) -> Iterator[Installation]:
    """A whole installation whose provider is not there yet."""
    address = f"http://127.0.0.1:{port}/v1"
    installation = start(tmp_path, MODEL_PROVIDER="openai", MODEL_BASE_URL=address, MODEL_API_KEY=KEY, MODEL_TIERS=TIERS)
    yield installation
    installation.manage("down")


@contextmanager
def served(port: int) -> Iterator[None]:
    command = [sys.executable, "manage.py", "simulate_provider", "--port", str(port), "--api-key", KEY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline().startswith("listening")
        yield
        server.terminate()


def begun(consumer: Consumer) -> str:
    rows = [{"row_id": f"row-{number}", "title": "monster"} for number in range(ROWS)]
    answer = consumer.http.post("/v1/batches", json={"endpoint": "enrich@1", "manifest": {"rows": rows}, "shards": 2})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return f"/v1/batches/{answer.json()['id']}"


@pytest.mark.timeout(480)
def test_an_outage_costs_a_job_none_of_its_tries_and_a_batch_none_of_its_rows(alone: Installation, port: int) -> None:
    with closing(Consumer(alone)) as consumer:
        out_until = time.monotonic() + OUT_FOR_S
        job = consumer.submit("personalize@1", {"reader": "r-004"})
        batch = begun(consumer)
        last = consumer.chat(ASKED)[-1]
        parked = consumer.job(job["id"], states=frozenset({"waiting"}))
        time.sleep(max(0.0, out_until - time.monotonic()))
        with served(port):
            ended = consumer.job(job["id"], within=120)
            done = until(lambda: consumer.get(batch), lambda found: found["state"] in ENDED, within=BATCH_S)

    assert (last["type"], last["data"]["code"]) in {("turn.failed", "provider_down"), ("turn.failed", "model_unavailable")}
    assert last["data"]["escape"]["offer"] == "personalize@1"
    assert last["data"]["duration_ms"] < BUDGET_MS
    assert parked["failures"] == 0
    assert (ended["state"], ended["failures"]) == ("completed", 0)
    assert done["state"] == "completed"
    assert (done["progress"]["rows_done"], done["progress"]["rows_failed"]) == (ROWS, 0)
