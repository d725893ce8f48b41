"""How long `POST /v1/jobs` takes to accept a job at half of the maximum rate, while the jobs are run."""

from __future__ import annotations

import time
from functools import reduce
from itertools import count
from operator import add
from statistics import median

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import rounds, waits
from tests.benchmarks.staging.noop import NOOP
from tests.benchmarks.staging.rounds import SLOTS, TENANTS, Round, Tenants
from tests.benchmarks.staging.stage import Client, Stage, staged
from tests.benchmarks.staging.waits import Waits

FLAT_OUT_JOBS = 1_500
FLAT_OUT_CONNECTIONS, CONNECTIONS = 8, 64
BLOCKS = 3
BLOCK_S = 12.0
REST_S = 1.0
TARGET_MS = 70.0
_numbers = count(1)


def run() -> Figure:
    """An answer's time counts from the moment at which its request was due, so that a slow answer cannot hide the next."""
    with staged(SLOTS=f"p1={SLOTS}") as stage:
        for program in ("worker-p1", "dispatcher", "web"):
            stage.start(program)
        stage.wait_for_port(stage.port)
        poster, tenants = stage.client("posting"), Tenants.made(stage.client("submitting"), TENANTS)
        _flat_out(stage, poster, tenants)
        played = [_block(stage, poster, tenants) for _ in range(BLOCKS)]
    found, rate = reduce(add, (each for each, _ in played)), median(rate for _, rate in played)
    return Figure(
        name="ack_latency",
        unit="ms",
        main=Row(what="POST /v1/jobs at half of the maximum rate, p99", value=found.at(0.99), target=TARGET_MS),
        beside=(
            *found.rows("at half of the maximum rate"),
            *(Row(what=f"block {number}, p99", value=each.at(0.99)) for number, (each, _) in enumerate(played, start=1)),
            Row(what="the maximum: posted and completed", value=rate, unit="jobs/s"),
        ),
    )


def _block(stage: Stage, poster: Client, tenants: Tenants) -> tuple[Waits, float]:
    """Measure the maximum, then answer half of it; the machine is the same for both."""
    rate = _flat_out(stage, poster, tenants).rate
    time.sleep(REST_S)
    load = {"count": round(BLOCK_S * rate / 2), "connections": CONNECTIONS, "mean_gap_s": 2 / rate, "seed": next(_numbers)}
    told = {"port": stage.port, "keys": list(tenants.keys), "endpoint": NOOP, "given": {}}
    found = waits.of_seconds(poster.do("paced", **load, **told))
    rounds.wait_until_idle(stage)
    return found, rate


def _flat_out(stage: Stage, poster: Client, tenants: Tenants) -> Round:
    time.sleep(REST_S)
    return rounds.over_http(stage, poster, tenants, jobs=FLAT_OUT_JOBS, connections=FLAT_OUT_CONNECTIONS)
