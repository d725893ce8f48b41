"""Rows a second of a batch whose rows wait 50 ms for a model, against plain asyncio and pyarrow in one process on the same rows."""

from __future__ import annotations

import time
from datetime import timedelta
from statistics import median

from tests.benchmarks.figure import Bound, Figure, Row
from tests.benchmarks.staging import batch_stage
from tests.benchmarks.staging.batch_stage import Batched

ROWS, AT_ONCE, WORKERS, PAIRS = 50_000, 512, 2, 3
REST_S = 1.0
PATIENCE = timedelta(minutes=5)
TARGET = 1.2


def run() -> Figure:
    """Play in turn: the figure is the median of the ratios, pair by pair. Planning is not counted, gathering is."""
    with batch_stage.staged(workers=WORKERS, rows_in_flight=AT_ONCE) as stage:
        manifest, small = stage.manifest(ROWS), stage.manifest(ROWS // 10)
        stage.plain(small, at_once=AT_ONCE)
        stage.batch(small, shards=2 * WORKERS, patience=PATIENCE)
        played: list[tuple[Batched, Batched]] = []
        for _ in range(PAIRS):
            time.sleep(REST_S)
            plain = stage.plain(manifest, at_once=AT_ONCE)
            time.sleep(REST_S)
            played.append((plain, stage.batch(manifest, shards=2 * WORKERS, patience=PATIENCE)))
    return _figure(played)


def _figure(played: list[tuple[Batched, Batched]]) -> Figure:
    ratio = median(plain.seconds / batch.seconds for plain, batch in played)
    batches, plains = [batch for _, batch in played], [plain for plain, _ in played]
    workers = sorted(name for name in batches[0].cpu_s if name.startswith("worker-p3"))
    return Figure(
        name="batch_throughput",
        unit="x plain asyncio",
        main=Row(what=f"{ROWS:,} rows of 50 ms, {WORKERS} processes of {AT_ONCE}", value=ratio, target=TARGET, bound=Bound.AT_LEAST),
        beside=(
            Row(what="batch", value=median(ROWS / each.seconds for each in batches), unit="rows/s"),
            Row(what="batch, rows alone", value=median(ROWS / each.rows_s for each in batches), unit="rows/s"),
            Row(what="plain asyncio and pyarrow, one process", value=median(ROWS / each.seconds for each in plains), unit="rows/s"),
            *(
                Row(what=f"batch: {name}", value=median(1000 * each.cpu_s[name] / ROWS for each in batches), unit="CPU ms/row")
                for name in (*workers, "postgres", "redis")
            ),
            Row(what="plain", value=median(1000 * each.cpu_s["plain"] / ROWS for each in plains), unit="CPU ms/row"),
        ),
    )
