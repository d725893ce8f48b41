"""Jobs a second when many are queued already, against bare Celery with as many messages; and with a large backlog of many tenants."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count

from tests.benchmarks.figure import Bound, Figure, Row
from tests.benchmarks.staging import backlog, rounds
from tests.benchmarks.staging.noop import NOOP
from tests.benchmarks.staging.rounds import SLOTS, Round, Tenants
from tests.benchmarks.staging.stage import Client, Stage, staged

JOBS = 5_000
PAIRS = 5
TARGET = 4.0
FEW, MANY = 10, 1_000
BACKLOGS = (200_000, 1_000_000)
LOOKS = 3
LOOK = timedelta(seconds=3)
REST_S = 1.0
# From the first admission to the end of the last of the first that finished.
FIRST_FINISHED = """
SELECT count(*), extract(epoch FROM max(finished_at) - min(dispatched_at))::float8 FROM (
    SELECT dispatched_at, finished_at FROM invocation_job
    WHERE state = 'completed' AND finished_at >= to_timestamp(%(released)s) ORDER BY finished_at LIMIT %(jobs)s) AS first
"""
IN_FLIGHT_ENDED = "SELECT NOT EXISTS (SELECT FROM invocation_job WHERE state IN ('dispatched', 'working', 'cancelling'))"
_numbers = count(1)


def run() -> Figure:
    with staged(SLOTS=f"p1={SLOTS}") as stage:
        stage.start("worker-p1")
        stage.start("dispatcher")
        stage.start_bare(concurrency=stage.env.worker_threads)
        submitting, delaying = stage.client("submitting"), stage.client("delaying")
        ours, bare = _pairs(stage, submitting, delaying)
        stage.end("bare", "delaying")
        large = _with_backlogs(stage, submitting)
    return _figure(ours, bare, large)


def _pairs(stage: Stage, submitting: Client, delaying: Client) -> tuple[list[Round], list[Round]]:
    """Drain in turn after one warm-up of each."""
    tenants = Tenants.made(submitting, FEW)
    found: dict[str, list[Round]] = {"ours": [], "bare": []}
    plays: dict[str, Callable[[], Round]] = {"ours": lambda: _ours(stage, submitting, tenants), "bare": lambda: _bare(delaying)}
    for pair in range(PAIRS + 1):
        for name in plays if pair % 2 else reversed(plays):
            time.sleep(REST_S)
            found[name].append(plays[name]())
    return found["ours"][1:], found["bare"][1:]


def _ours(stage: Stage, client: Client, tenants: Tenants) -> Round:
    """The jobs are queued while the class is held, and the round begins with its release."""
    with backlog.held(client):
        backlog.queue(stage, client, tenants, jobs=JOBS, endpoint=NOOP)
        released = rounds.moment()
    rounds.wait_until_idle(stage)
    drained = _first(stage, released)
    if drained.jobs != JOBS:
        raise rounds.RoundBroken(f"{drained.jobs} of {JOBS} jobs were completed")
    return drained


def _bare(client: Client) -> Round:
    """The messages are in Redis before the worker may consume; its first task begins the round."""
    round_id = f"drain-{next(_numbers)}"
    client.do("consume", is_on=False)
    client.do("delay", round_id=round_id, count=JOBS)
    client.do("consume", is_on=True)
    told = client.do("ended", round_id=round_id)
    return Round(jobs=JOBS, seconds=told["ended"] - told["began"])


def _with_backlogs(stage: Stage, client: Client) -> dict[int, list[Round]]:
    """Let the class drain for a while beside each backlog; what is drained is made up before the next."""
    tenants = backlog.tenants(stage, MANY, prefix="backlog")
    found: dict[int, list[Round]] = {}
    queued = 0
    for size in BACKLOGS:
        with backlog.held(client):
            backlog.queue(stage, client, tenants, jobs=size - queued, endpoint=NOOP)
        found[size] = [_look(stage, client) for _ in range(LOOKS)]
        queued = stage.value("SELECT count(*) FROM invocation_job WHERE state = 'queued'")
    return found


def _look(stage: Stage, client: Client) -> Round:
    released = rounds.moment()
    time.sleep(LOOK.total_seconds())
    with backlog.held(client):
        stage.wait(IN_FLIGHT_ENDED)
        return _first(stage, released)


def _first(stage: Stage, released: float) -> Round:
    jobs, seconds = stage.rows(FIRST_FINISHED, released=released, jobs=JOBS)[0]
    if not jobs:
        raise rounds.RoundBroken("nothing was completed")
    return Round(jobs=jobs, seconds=seconds)


def _figure(ours: Sequence[Round], bare: Sequence[Round], large: dict[int, list[Round]]) -> Figure:
    return Figure(
        name="durable_drain",
        unit="x bare Celery",
        main=Row(what=f"{JOBS:,} queued", value=rounds.ratio(ours, bare), target=TARGET, bound=Bound.AT_LEAST),
        beside=(
            Row(what=f"{JOBS:,} queued, {FEW} tenants", value=rounds.rate(ours), unit="jobs/s"),
            Row(what=f"bare Celery, {JOBS:,} queued", value=rounds.rate(bare), unit="jobs/s"),
            *(Row(what=f"{size:,} queued, {MANY:,} tenants", value=rounds.rate(found), unit="jobs/s") for size, found in large.items()),
        ),
    )
