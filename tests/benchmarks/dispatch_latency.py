"""How long a job takes from its submission to its start, alone and at half of the maximum rate, beside bare Celery."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import reduce
from itertools import count
from operator import add
from typing import Any

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import rounds, waits
from tests.benchmarks.staging.rounds import SLOTS, TENANTS, Tenants
from tests.benchmarks.staging.stage import Client, Stage, staged
from tests.benchmarks.staging.waits import Waits

BLOCKS = 4
FLAT_OUT_JOBS = 3_000
REST_S = 1.0
TARGET_MS = 12.0
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """So many jobs at random moments."""

    jobs: int
    mean_gap_s: float
    least_gap_s: float = 0.0

    @classmethod
    def half_of(cls, rate: float, *, for_s: float) -> Load:
        return cls(jobs=round(for_s * rate / 2), mean_gap_s=2 / rate)

    @property
    def pace(self) -> dict[str, Any]:
        return {"mean_gap_s": self.mean_gap_s, "least_gap_s": self.least_gap_s, "seed": next(_numbers)}


IDLE = Load(jobs=120, mean_gap_s=0.1, least_gap_s=0.05)
LOADED_S = 5.0


@dataclass(slots=True)
class Measured:
    """The blocks of one load: until our claim, until our agent's first line, until bare Celery's task's first line."""

    started: list[Waits] = field(default_factory=list)
    entered: list[Waits] = field(default_factory=list)
    bare: list[Waits] = field(default_factory=list)

    def rows(self, load: str) -> list[Row]:
        found = {"started": self.started, "its agent's first line": self.entered, "bare Celery": self.bare}
        return [row for what, blocks in found.items() for row in reduce(add, blocks).rows(f"{load}, {what}")]


def run() -> Figure:
    with staged(SLOTS=f"p1={SLOTS}") as stage:
        sides = _sides(stage)
        idle, loaded = Measured(), Measured()
        for _ in range(BLOCKS):
            sides.play(idle, ours=IDLE, bare=IDLE)
        own_rate, bare_rate = sides.rates()
        for _ in range(BLOCKS):
            sides.play(loaded, ours=Load.half_of(own_rate, for_s=LOADED_S), bare=Load.half_of(bare_rate, for_s=LOADED_S))
    main = Row(what="idle, started, p95", value=reduce(add, idle.started).at(0.95), target=TARGET_MS)
    half = (("half load: ours", own_rate / 2), ("half load: bare Celery's", bare_rate / 2))
    rates = (Row(what=what, value=rate, unit="jobs/s") for what, rate in half)
    return Figure(name="dispatch_latency", unit="ms", main=main, beside=(*idle.rows("idle"), *rates, *loaded.rows("half load")))


@dataclass(frozen=True, slots=True)
class Sides:
    """Ours and bare Celery, each with its client."""

    stage: Stage
    submitting: Client
    delaying: Client
    tenants: Tenants

    def rates(self) -> tuple[float, float]:
        """Return what each can do flat out."""
        ours = rounds.through_the_service(self.stage, self.submitting, self.tenants, jobs=FLAT_OUT_JOBS)
        return ours.rate, rounds.of_bare(self.stage, self.delaying, jobs=FLAT_OUT_JOBS).rate

    def play(self, into: Measured, *, ours: Load, bare: Load) -> None:
        """Play a block of each."""
        time.sleep(REST_S)
        began = rounds.submit(self.submitting, self.tenants, jobs=ours.jobs, **ours.pace)["began"]
        rounds.wait_until_idle(self.stage)
        into.started.append(waits.started(self.stage, self.tenants, began=began))
        into.entered.append(waits.entered(self.stage, self.tenants, began=began))
        time.sleep(REST_S)
        into.bare.append(self._bare(bare))

    def _bare(self, load: Load) -> Waits:
        round_id = f"waits-{next(_numbers)}"
        self.delaying.do("stamp", round_id=round_id, count=load.jobs, **load.pace)
        return waits.of_seconds(self.delaying.do("ended", round_id=round_id))


def _sides(stage: Stage) -> Sides:
    """Start both and let each run flat out once."""
    stage.start("worker-p1")
    stage.start("dispatcher")
    stage.start_bare(concurrency=stage.env.worker_threads)
    submitting, delaying = stage.client("submitting"), stage.client("delaying")
    sides = Sides(stage, submitting, delaying, Tenants.made(submitting, TENANTS))
    sides.rates()
    return sides
