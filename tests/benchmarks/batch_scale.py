"""What planning a batch and committing its checkpoints costs, from ten thousand rows to four million, and how much memory planning takes.

Rows do nothing: a checkpoint is the statement that moves a shard's position and notes its part, sent to PostgreSQL as a worker does, for
each 500 rows of each of 256 shards (fewer rows a checkpoint where a shard has fewer). No part is written and no call is booked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging.stage import Stage, staged

SIZES = (10_000, 100_000, 1_000_000, 4_000_000)
ONE, MANY = 100_000, 4_000_000
ROUNDS = {10_000: 3, 100_000: 3}
"""How often a size is planned: the quickest counts. The large ones are long enough to be measured once."""
TARGET = 1.2
MOST_S, MOST_MB = 60.0, 300.0


@dataclass(frozen=True, slots=True)
class Planned:
    """One size: seconds of planning, the process's largest memory, and the seconds and the number of all checkpoints."""

    rows: int
    seconds: float
    peak_mb: float
    checkpoint_s: float
    checkpoints: int

    @property
    def us_a_row(self) -> float:
        return self.seconds / self.rows * 1e6


def run() -> Figure:
    with staged() as stage:
        found = {rows: min((_size(stage, rows) for _ in range(ROUNDS.get(rows, 1))), key=lambda each: each.seconds) for rows in SIZES}
    many = found[MANY]
    return Figure(
        name="batch_scale",
        unit="ratio",
        main=Row(what="planning a row: of 4,000,000 / of 100,000", value=many.us_a_row / found[ONE].us_a_row, target=TARGET),
        beside=(
            Row(what="a checkpoint: of 4,000,000 / of 100,000", value=_ms(many) / _ms(found[ONE]), target=TARGET),
            Row(what="planning 4,000,000", value=many.seconds, target=MOST_S, unit="s"),
            Row(what="planning 4,000,000, RSS at most", value=many.peak_mb, target=MOST_MB, unit="MB"),
            *(row for each in found.values() for row in _rows(each)),
        ),
    )


def _rows(size: Planned) -> tuple[Row, ...]:
    what = f"{size.rows:,} rows"
    return (
        Row(what=f"{what}: planning", value=size.seconds, unit="s"),
        Row(what=f"{what}: planning a row", value=size.us_a_row, unit="µs"),
        Row(what=f"{what}: RSS at most", value=size.peak_mb, unit="MB"),
        Row(what=f"{what}: {size.checkpoints:,} checkpoints", value=size.checkpoint_s, unit="s"),
        Row(what=f"{what}: a checkpoint", value=_ms(size), unit="ms"),
    )


def _ms(size: Planned) -> float:
    return size.checkpoint_s / size.checkpoints * 1000


def _size(stage: Stage, rows: int) -> Planned:
    """Plan in a process of its own: the memory is this size's."""
    path = stage.home / f"rows-{rows}.jsonl"
    if not path.exists():
        _write(stage, path, rows)
    client = stage.client("cutting")
    planned = client.do("planned", path=str(path))
    commits = client.do("checkpointed", batch=planned["batch"])
    stage.end("cutting")
    return Planned(rows, planned["seconds"], planned["peak_mb"], commits["seconds"], commits["checkpoints"])


def _write(stage: Stage, path: Path, rows: int) -> None:
    stage.client("cutting", called="writing").do("written", path=str(path), rows=rows)
    stage.end("writing")
