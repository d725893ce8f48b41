"""How soon a tenant's first job starts while a million jobs of a thousand other tenants are queued and being drained."""

from __future__ import annotations

import time
from itertools import count

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import backlog, rounds, waits
from tests.benchmarks.staging.noop import NOOP
from tests.benchmarks.staging.rounds import SLOTS, Tenants
from tests.benchmarks.staging.stage import Client, Stage, staged
from tests.benchmarks.staging.waits import Waits

QUEUED = 1_000_000
TENANTS = 1_000
NEWCOMERS = 200
MEAN_GAP_S = 0.08
SETTLED_S = 3.0
BARE_QUEUED = 5_000
TARGET_MS = 75.0
DRAINED = """
SELECT count(*), extract(epoch FROM max(finished_at) - min(finished_at))::float8 FROM invocation_job
WHERE state = 'completed' AND finished_at >= to_timestamp(%(began)s)
"""
NONE_WAITS = "SELECT NOT EXISTS (SELECT FROM invocation_job WHERE tenant_id = ANY(%(owners)s::uuid[]) AND started_at IS NULL)"
_numbers = count(1)


def run() -> Figure:
    """Each newcomer is a tenant that has a plan and never had a job; each is measured once. Where nothing is queued, tenants come again."""
    with staged(SLOTS=f"p1={SLOTS}") as stage:
        behind = _bare(stage)
        stage.start("worker-p1")
        stage.start("dispatcher")
        client = stage.client("submitting")
        early, newcomers = (backlog.tenants(stage, NEWCOMERS, prefix=prefix) for prefix in ("early", "newcomer"))
        rounds.submit(client, early, jobs=NEWCOMERS)
        rounds.wait_until_idle(stage)
        idle, _ = _newcomers(stage, client, early)
        with backlog.held(client):
            backlog.queue(stage, client, backlog.tenants(stage, TENANTS, prefix="backlog"), jobs=QUEUED, endpoint=NOOP)
        time.sleep(SETTLED_S)
        found, drained = _newcomers(stage, client, newcomers)
    return Figure(
        name="newcomer",
        unit="ms",
        main=Row(what=f"submitted to started beside {QUEUED:,} queued, p95", value=found.at(0.95), target=TARGET_MS),
        beside=(
            *found.rows(f"beside {QUEUED:,} queued"),
            Row(what="the backlog drains meanwhile at", value=drained, unit="jobs/s"),
            *idle.rows("nothing queued"),
            Row(what=f"bare Celery, behind {BARE_QUEUED:,} messages", value=behind),
        ),
    )


def _newcomers(stage: Stage, client: Client, newcomers: Tenants) -> tuple[Waits, float]:
    """Return the newcomers' waits, and how many jobs a second ended meanwhile."""
    began = rounds.submit(client, newcomers, jobs=len(newcomers.ids), mean_gap_s=MEAN_GAP_S)["began"]
    stage.wait(NONE_WAITS, owners=list(newcomers.ids))
    jobs, seconds = stage.rows(DRAINED, began=began)[0]
    found = waits.started(stage, newcomers, began=began)
    if len(found.each) != len(newcomers.ids):
        raise rounds.RoundBroken(f"{len(found.each)} of {len(newcomers.ids)} newcomers were started")
    return found, jobs / seconds


def _bare(stage: Stage) -> float:
    """Return how long one task of bare Celery takes to start behind others, in milliseconds."""
    stage.start_bare(concurrency=stage.env.worker_threads)
    client = stage.client("delaying")
    client.do("delay", round_id="warm", count=BARE_QUEUED // 10)
    client.do("ended", round_id="warm")
    client.do("consume", is_on=False)
    client.do("delay", round_id="before", count=BARE_QUEUED)
    client.do("consume", is_on=True)
    client.do("stamp", round_id="newcomer", count=1, mean_gap_s=0.0, seed=next(_numbers))
    wait: float = client.do("ended", round_id="newcomer")[0]
    stage.end("bare", "delaying")
    return wait * 1000
