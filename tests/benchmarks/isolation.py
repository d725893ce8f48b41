"""Chat's first delta while a batch takes all that its quota gives, against the same chats alone; in turn, on one installation."""

from __future__ import annotations

import time
from statistics import median

from tests.benchmarks.figure import Bound, Figure, Row
from tests.benchmarks.staging.saturated import Saturated, p95, saturated

PEOPLE = 10
LOOKS = 3
LOOK_S = 30.0
SETTLED_S = 20.0
ROWS = 4_000
TARGET = 1.10


def run() -> Figure:
    alone: list[float] = []
    beside: list[float] = []
    failures: list[str] = []
    with saturated(SLOTS="p3=8") as ground:
        ground.chat(people=PEOPLE, for_s=10)  # everything is loaded, and its speed is known
        for _ in range(LOOKS):
            seen = ground.chat(people=PEOPLE, for_s=LOOK_S)
            alone.append(p95(seen.first_deltas))
            failures += seen.failures
            with_batch = _beside_a_batch(ground, failures)
            beside.append(with_batch)
        refused = ground.refused()
    moved = median(one / other for one, other in zip(beside, alone, strict=True))
    return Figure(
        name="isolation",
        unit="x",
        main=Row(what="first delta p95, beside a batch at its quota ÷ alone", value=moved, target=TARGET),
        beside=(
            Row(what=f"first delta p95, {PEOPLE} chats alone", value=1000 * median(alone), unit="ms"),
            Row(what=f"first delta p95, {PEOPLE} chats beside the batch", value=1000 * median(beside), unit="ms"),
            Row(what="chats that failed", value=len(failures), target=0, unit="turns"),
            Row(what="calls that the provider refused", value=refused, target=0, bound=Bound.AT_MOST, unit="calls"),
        ),
    )


def _beside_a_batch(ground: Saturated, failures: list[str]) -> float:
    batches = ground.begin_batches(ROWS)
    time.sleep(SETTLED_S)
    seen = ground.chat(people=PEOPLE, for_s=LOOK_S)
    failures += seen.failures
    ground.cancel(batches)
    time.sleep(SETTLED_S)
    return p95(seen.first_deltas)
