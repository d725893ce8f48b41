"""How much memory a run in flight costs when one worker process has 500, beside a thread each in bare Celery."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import psutil

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import rounds
from tests.benchmarks.staging.memory import proportional_mb, resident_mb, tree
from tests.benchmarks.staging.noop import SLEEPER
from tests.benchmarks.staging.rounds import Tenants
from tests.benchmarks.staging.stage import Client, DidNotHappen, Stage, staged

IN_FLIGHT = 500
SLOTS = 516
"""A thirty-second of them is kept for tenants that have nothing in flight."""
ROUNDS = 3
FOR_S = 300
SETTLED_S = 4.0
PATIENCE_S = 60
TARGET_MB = 1.0
KNOWN = "SELECT EXISTS (SELECT FROM invocation_process WHERE pid = %(pid)s)"
RUNNING = "SELECT count(*) = %(jobs)s FROM invocation_job WHERE state = 'working'"

Sizes = tuple[float, float]


def run() -> Figure:
    """Each round has a worker of its own, warm before its first look: what is left is what the runs add."""
    with staged(SLOTS=f"p1={SLOTS}") as stage:
        stage.start("dispatcher")
        submitting, delaying = stage.client("submitting"), stage.client("delaying")
        pairs = [(_ours(stage, submitting), _bare(stage, delaying)) for _ in range(ROUNDS)]
    ours, bare = zip(*pairs, strict=True)
    return Figure(
        name="density",
        unit="MB",
        main=Row(what=f"a run in flight of {IN_FLIGHT}, RSS", value=median(rss for rss, _ in ours), target=TARGET_MB),
        beside=(
            Row(what=f"a run in flight of {IN_FLIGHT}, PSS", value=median(pss for _, pss in ours)),
            Row(what="bare Celery, a thread each, RSS", value=median(rss for rss, _ in bare)),
            Row(what="bare Celery, a thread each, PSS", value=median(pss for _, pss in bare)),
        ),
    )


def _ours(stage: Stage, client: Client) -> Sizes:
    worker, tenants = stage.start("worker-p1"), Tenants.made(client, 1)
    stage.wait(KNOWN, pid=worker.pid)
    rounds.through_the_service(stage, client, tenants, jobs=IN_FLIGHT)

    def fill() -> None:
        rounds.submit(client, tenants, jobs=IN_FLIGHT, endpoint=SLEEPER, given={"for_s": FOR_S})
        stage.wait(RUNNING, jobs=IN_FLIGHT)

    found = _added(worker, fill)
    client.do("cancel", tenant_id=tenants.ids[0])
    rounds.wait_until_idle(stage)
    stage.end("worker-p1")
    return found


def _bare(stage: Stage, client: Client) -> Sizes:
    worker = stage.start_bare(concurrency=IN_FLIGHT)
    client.do("delay", round_id=f"warm-{worker.pid}", count=1)
    client.do("ended", round_id=f"warm-{worker.pid}")

    def fill() -> None:
        client.do("sleep", count=IN_FLIGHT, for_s=FOR_S)
        limit = time.monotonic() + PATIENCE_S
        while worker.num_threads() < IN_FLIGHT:
            if time.monotonic() > limit:
                raise DidNotHappen(f"bare Celery has {worker.num_threads()} threads")
            time.sleep(0.1)

    found = _added(worker, fill)
    stage.end_now("bare")
    return found


def _added(worker: psutil.Process, fill: Callable[[], None]) -> Sizes:
    """Return what each run added to the worker and its descendants, as RSS and as PSS."""
    time.sleep(SETTLED_S)
    before = _sizes(worker)
    fill()
    time.sleep(SETTLED_S)
    after = _sizes(worker)
    return (after[0] - before[0]) / IN_FLIGHT, (after[1] - before[1]) / IN_FLIGHT


def _sizes(worker: psutil.Process) -> Sizes:
    family = tree(worker)
    return resident_mb(family), proportional_mb(family)
