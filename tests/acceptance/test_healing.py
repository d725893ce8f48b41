"""Killing any one process of `up` is healed without a lost run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing

import httpx
import psutil
import pytest
import redis

from tests.acceptance.speaking import BATCH_S, ENDED, LAST, Consumer, heard, until
from tests.installation import Installation, start

LETTERS = [f"r-{number:03d}" for number in range(1, 9)]
PROGRAMS = ["web", "worker-p0", "worker-p1", "worker-p2", "worker-p3", "worker-control", "dispatcher", "beat", "flower"]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that may be hurt."""
    installation = start(tmp_path_factory.mktemp("victim"))
    yield installation
    installation.manage("down")


@pytest.fixture
def consumer(victim: Installation) -> Iterator[Consumer]:
    until(lambda: ready(victim), bool, within=60)
    with closing(Consumer(victim)) as consumer:
        yield consumer


def pid_of(installation: Installation, program: str) -> int:
    roster = json.loads((installation.home / "processes.json").read_text())
    return int(next(each["process"]["pid"] for each in roster["entries"] if each["name"] == program))


def kill(installation: Installation, program: str) -> int:
    """kill -9 the program, its children first."""
    pid = pid_of(installation, program)
    for child in psutil.Process(pid).children(recursive=True):
        child.kill()
    os.kill(pid, signal.SIGKILL)
    return pid


def is_healed(installation: Installation, program: str, old: int) -> bool:
    try:
        pid = pid_of(installation, program)
    except (StopIteration, ValueError, OSError):
        return False
    return pid != old and psutil.pid_exists(pid)


def ready(installation: Installation) -> bool:
    try:
        return httpx.get(f"{installation.base_url}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_killed_process_is_healed_and_no_run_is_lost(victim: Installation, consumer: Consumer, program: str) -> None:
    jobs = [consumer.submit("personalize@1", {"reader": reader})["id"] for reader in LETTERS]
    batch = consumer.http.post(
        "/v1/batches", json={"endpoint": "enrich@1", "manifest": {"rows": [{"title": "monster"}, {"title": "pluto"}]}, "shards": 2}
    ).json()["id"]

    old = kill(victim, program)

    until(lambda: is_healed(victim, program, old), bool, within=30)
    until(lambda: ready(victim), bool, within=60)
    assert [consumer.job(job, within=90)["state"] for job in jobs] == ["completed"] * len(jobs)
    ended = until(lambda: consumer.get(f"/v1/batches/{batch}"), lambda found: found["state"] in ENDED, within=BATCH_S)
    assert ended["state"] == "completed"
    answer = until(
        lambda: consumer.chat({"text": "Recommend a finished seinen thriller"})[-1], lambda last: last["type"] in LAST, within=60
    )
    assert answer["type"] == "turn.completed"


def test_a_turn_whose_worker_is_killed_still_ends_with_a_typed_event(victim: Installation, consumer: Consumer) -> None:
    with consumer.socket() as socket:
        heard(socket, until_type=frozenset({"session.ready"}))
        socket.send(json.dumps({"type": "turn", "input": {"text": "Recommend a finished seinen thriller"}}))
        heard(socket, until_type=frozenset({"delta"}))
        kill(victim, "worker-p0")
        frames = heard(socket, within=30)

    assert frames[-1]["type"] in LAST
    assert frames[-1]["type"] == "turn.completed" or frames[-1]["data"]["code"] in {"worker_lost", "latency_budget_exceeded"}
    seqs = [frame["seq"] for frame in frames if frame["type"] not in {"heartbeat", "gap", "session.ready"}]
    assert seqs == sorted(set(seqs))


def test_a_wiped_redis_delays_jobs_and_loses_none(victim: Installation, consumer: Consumer) -> None:
    jobs = [consumer.submit("personalize@1", {"reader": reader})["id"] for reader in LETTERS]

    with closing(redis.Redis.from_url(json.loads((victim.home / "servers.json").read_text())["redis_url"])) as store:
        store.flushall()

    assert [consumer.job(job, within=90)["state"] for job in jobs] == ["completed"] * len(jobs)
