"""How far one tenant's flood, a thousand jobs for each of another tenant's, moves the others' waits.

The slots are what is short: the others bring more at once than can run, and wait for one another. With
the flood they share the same slots with one tenant more, whatever it queued.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import reduce
from operator import add
from statistics import median

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import backlog, rounds, waits
from tests.benchmarks.staging.noop import SLEEPER
from tests.benchmarks.staging.stage import Client, Stage, staged
from tests.benchmarks.staging.waits import Waits

SLOTS = 8
WORK = {"for_s": 0.1}
OTHERS = 50
EACH = 10
FLOOD = 1_000
PAIRS = 5
TRICKLE_JOBS = 100
TRICKLE_GAP_S = 0.05
REST_S = 1.0
TARGET = 10.0
ENDED = "SELECT NOT EXISTS (SELECT FROM invocation_job WHERE tenant_id = ANY(%(owners)s::uuid[]) AND finished_at IS NULL)"
QUEUED = "SELECT id FROM invocation_job WHERE tenant_id = ANY(%(owners)s::uuid[]) AND state = 'queued'"

Load = Callable[[], Waits]


def run() -> Figure:
    with staged(SLOTS=f"p1={SLOTS}") as stage:
        stage.start("worker-p1")
        stage.start("dispatcher")
        field = _Field(stage, stage.client("submitting"))
        field.burst()
        bursts = [_pair(field, field.burst, is_first=number % 2 == 0) for number in range(PAIRS)]
        trickles = [_pair(field, field.trickle, is_first=number % 2 == 0) for number in range(2)]
    moved = median(flooded.at(0.95) / alone.at(0.95) for alone, flooded in bursts)
    alone, flooded = ([pair[side] for pair in bursts] for side in (0, 1))
    return Figure(
        name="fairness",
        unit="%",
        main=Row(what=f"others' p95 wait moved by a {FLOOD}:1 flood, median of {PAIRS}", value=(moved - 1) * 100, target=TARGET),
        beside=(
            *reduce(add, alone).rows("others alone", (0.5, 0.95)),
            *reduce(add, flooded).rows("beside the flood", (0.5, 0.95)),
            *reduce(add, (pair[0] for pair in trickles)).rows("a trickle with free slots, alone", (0.5, 0.95)),
            *reduce(add, (pair[1] for pair in trickles)).rows("a trickle, every slot taken by the flood", (0.5, 0.95)),
        ),
    )


def _pair(field: _Field, load: Load, *, is_first: bool) -> tuple[Waits, Waits]:
    """Return the waits without and with the flood, played in this order or the other."""
    if is_first:
        alone = load()
        return alone, field.flooded(load)
    flooded = field.flooded(load)
    return load(), flooded


class _Field:
    """The others, the one who floods, and what each brings."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self._stage = stage
        self._client = client
        self._others = backlog.tenants(stage, OTHERS, prefix="other")
        self._flooder = backlog.tenants(stage, 1, prefix="flooder")

    def burst(self) -> Waits:
        """Let each of the others bring its jobs at once."""
        return self._waits(jobs=OTHERS * EACH)

    def trickle(self) -> Waits:
        """Let the others bring a job now and then."""
        return self._waits(jobs=TRICKLE_JOBS, mean_gap_s=TRICKLE_GAP_S)

    def flooded(self, load: Load) -> Waits:
        """Play the load while the flood is queued and takes every slot that it gets."""
        with backlog.held(self._client):
            backlog.queue(self._stage, self._client, self._flooder, jobs=EACH * FLOOD, endpoint=SLEEPER, given=WORK)
        found = load()
        with backlog.held(self._client):
            self._stage.rows(f"DELETE FROM invocation_jobevent WHERE job_id IN ({QUEUED})", owners=list(self._flooder.ids))
            self._stage.rows(f"DELETE FROM invocation_job WHERE id IN ({QUEUED})", owners=list(self._flooder.ids))
        rounds.wait_until_idle(self._stage)
        return found

    def _waits(self, *, jobs: int, **pace: float) -> Waits:
        time.sleep(REST_S)
        began = rounds.submit(self._client, self._others, jobs=jobs, endpoint=SLEEPER, given=WORK, **pace)["began"]
        self._stage.wait(ENDED, patience=rounds.PATIENCE, owners=list(self._others.ids))
        found = waits.started(self._stage, self._others, began=began)
        if len(found.each) != jobs:
            raise rounds.RoundBroken(f"{len(found.each)} of {jobs} jobs were started")
        return found
