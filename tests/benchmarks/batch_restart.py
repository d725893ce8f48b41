"""Rows that are called for again after every worker was killed at half of a batch: at most one checkpoint of each running shard."""

from __future__ import annotations

from datetime import timedelta

from invocation.domain.batches import CHECKPOINT_ROWS
from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import batch_stage
from tests.benchmarks.staging.batch_stage import ROWS_DONE, BatchStage

ROWS, AT_ONCE, WORKERS, SHARDS = 20_000, 256, 2, 8
PATIENCE = timedelta(minutes=5)
TARGET = 1.0


def run() -> Figure:
    """Kill -9 at 50 %, start anew, and count the answers of the model that were given twice."""
    with batch_stage.staged(workers=WORKERS, rows_in_flight=AT_ONCE, LEASE_S="4", HEARTBEAT_S="1") as stage:
        stage.stage.start("beat")
        batch = stage.open(stage.manifest(ROWS), shards=SHARDS)
        stage.stage.wait(f"SELECT ({ROWS_DONE}) >= %(half)s", patience=PATIENCE, batch=batch, half=ROWS // 2)
        running, kept, answered = _killed(stage, batch)
        for number in range(WORKERS):
            stage.stage.start("worker-p3", called=f"worker-p3-{WORKERS + number}")
        stage.must_complete(batch, patience=PATIENCE)
        redone = stage.answered() - ROWS
    return Figure(
        name="batch_restart",
        unit="x one checkpoint a running shard",
        main=Row(
            what=f"answers given twice ÷ {CHECKPOINT_ROWS} rows a running shard", value=redone / (running * CHECKPOINT_ROWS), target=TARGET
        ),
        beside=(
            Row(what="answers given twice", value=redone, unit="rows"),
            Row(what="shards running at the kill", value=running, unit="shards"),
            Row(what="rows on record at the kill", value=kept, unit="rows"),
            Row(what="rows answered at the kill", value=answered, unit="rows"),
        ),
    )


def _killed(stage: BatchStage, batch: object) -> tuple[int, int, int]:
    """Kill every worker of the class; return how many shards ran, how many rows were on record and how many were answered."""
    stage.stage.end_now(*(name for name in list(stage.stage.processes) if name.startswith("worker-p3")))
    running = stage.stage.value("SELECT count(*) FROM invocation_shard WHERE owner IS NOT NULL")
    return max(1, running), int(stage.stage.value(ROWS_DONE, batch=batch)), stage.answered()
