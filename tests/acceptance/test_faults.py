"""Faults at named points of a job's life, and a minute of a monkey: every job ends once, every effect happens once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import pytest

from tests.soak.ends import all_is_well
from tests.soak.errand import POINTS
from tests.soak.ground import Ground, ground, until
from tests.soak.monkey import Client, torment

ALONE = "alone"
BESIDE: Mapping[str, Callable[[Ground], None]] = MappingProxyType(
    {ALONE: lambda _: None, "with Redis wiped": lambda here: here.flush(), "with Redis restarted": lambda here: here.restart_redis()}
)


@pytest.fixture(scope="module")
def here() -> Iterator[Ground]:
    with ground() as here:
        yield here


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("point", POINTS[:3])
def test_a_worker_killed_at_a_point_loses_and_doubles_nothing(here: Ground, point: str, beside: str) -> None:
    job_id = here.must_submit({"point": point}, key=f"{point} {beside}")
    pid = until(lambda: here.effects.reached.get(f"{job_id} {point}"), bool, within=30)
    victim = next(name for name, process in here.stage.processes.items() if process.pid == pid)

    here.kill(victim)
    BESIDE[beside](here)

    assert until(lambda: here.state(job_id), lambda state: state == "completed", within=60)
    assert here.effects.applied[f"{job_id}:charge"] == 1


AROUND_ITS_RESULT = [
    *((die_in_s, ALONE) for die_in_s in (0.0, 0.004, 0.01, 0.03)),
    *((die_in_s, beside) for beside in BESIDE if beside != ALONE for die_in_s in (0.0, 0.01)),
]


@pytest.mark.parametrize(("die_in_s", "beside"), AROUND_ITS_RESULT)
def test_a_worker_that_dies_around_its_result_ends_the_job_once(here: Ground, die_in_s: float, beside: str) -> None:
    job_id = here.must_submit({"point": "after_result", "die_in_s": die_in_s}, key=f"result {die_in_s} {beside}")
    until(lambda: any(process.poll() is not None for process in here.stage.processes.values()), bool, within=60)
    BESIDE[beside](here)

    assert until(lambda: here.state(job_id), lambda state: state == "completed", within=60)
    assert here.effects.applied[f"{job_id}:charge"] == 1
    here.tend()


def test_a_database_that_crashes_is_charged_to_nobody(here: Ground) -> None:
    job_ids = [here.must_submit({"for_s": 2}, key=f"crash {number}") for number in range(8)]
    until(lambda: here.value("SELECT count(*) FROM invocation_job WHERE state = 'working'"), bool, within=30)

    here.restart_postgres()

    for job_id in job_ids:
        until(lambda job_id=job_id: here.state(job_id), lambda state: state == "completed", within=90)  # type: ignore[misc]
    charged = here.rows("SELECT failures, losses FROM invocation_job WHERE id::text = ANY(%(ids)s)", ids=job_ids)
    assert set(charged) == {(0, 0)}


def test_a_drain_under_load_spends_nothing(here: Ground) -> None:
    job_ids = [here.must_submit({"for_s": 3}, key=f"drain {number}") for number in range(12)]
    until(lambda: here.value("SELECT count(*) FROM invocation_job WHERE state = 'working'"), lambda busy: busy >= 8, within=30)

    here.kill("worker-p1", by=signal.SIGTERM)

    for job_id in job_ids:
        until(lambda job_id=job_id: here.state(job_id), lambda state: state == "completed", within=60)  # type: ignore[misc]
    charged = here.rows("SELECT failures, losses, is_alone FROM invocation_job WHERE id::text = ANY(%(ids)s)", ids=job_ids)
    assert set(charged) == {(0, 0, False)}


DOUBLED = """
from uuid import UUID
from invocation.gateways import dispatch
for attempt in (0, 0, 1):
    dispatch.wake_jobs("p1", [(UUID(job_id), attempt) for job_id in {job_ids!r}])
"""


def test_messages_that_come_again_start_no_job_again(here: Ground) -> None:
    job_ids = [here.must_submit({"for_s": 4}, key=f"doubled {number}") for number in range(20)]
    until(lambda: here.value("SELECT count(*) FROM invocation_job WHERE state = 'working'"), bool, within=30)

    here.stage.manage("shell", "--no-imports", "-c", DOUBLED.format(job_ids=job_ids))

    for job_id in job_ids:
        until(lambda job_id=job_id: here.state(job_id), lambda state: state == "completed", within=60)  # type: ignore[misc]
    begun = here.rows("SELECT attempt, failures, losses FROM invocation_job WHERE id::text = ANY(%(ids)s)", ids=job_ids)
    assert set(begun) == {(1, 0, 0)}
    assert {here.effects.applied[f"{job_id}:charge"] for job_id in job_ids} == {1}


def test_the_other_dispatcher_takes_over(here: Ground) -> None:
    for name in ("dispatcher", "dispatcher-b"):
        here.kill(name)
        job_id = here.must_submit({}, key=f"without {name}")
        until(lambda job_id=job_id: here.state(job_id), lambda state: state == "completed", within=45)  # type: ignore[misc]


def test_the_other_dispatcher_takes_over_from_a_frozen_one(here: Ground) -> None:
    for name in ("dispatcher", "dispatcher-b"):
        with here.frozen(name):
            job_id = here.must_submit({}, key=f"while {name} is frozen")
            until(lambda job_id=job_id: here.state(job_id), lambda state: state == "completed", within=45)  # type: ignore[misc]


def test_a_minute_of_a_monkey_loses_and_doubles_nothing(here: Ground) -> None:
    seed = int.from_bytes(os.urandom(4))
    with Client(here, rate=8.0).submitting() as client:
        done = torment(here, for_s=60, seed=seed)
    sys.stdout.write(f"seed {seed}: {len(client.job_ids)} jobs; {', '.join(done)}\n")

    all_is_well(here, client.job_ids, within=150)
