"""A stage with workers of class p3, a tenant, and a model whose quota does not bind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.benchmarks.staging import stage as stages
from tests.benchmarks.staging.asking_rows import ENDPOINT, MODEL, ROW_MS, TALLY
from tests.benchmarks.staging.stage import Client, DidNotHappen, Stage

TENANT = "bench"
ENDPOINTS = "tests.benchmarks.staging.asking_rows"
NEWEST = "SELECT id FROM invocation_batch ORDER BY id DESC LIMIT 1"
STOPPED = "SELECT state IN ('completed', 'failed', 'cancelled', 'paused') FROM invocation_batch WHERE id = %(batch)s"
TOOK = """
SELECT state, extract(epoch FROM finished_at - started_at)::float,
       (SELECT extract(epoch FROM max(shard.finished_at) - min(shard.started_at))::float
        FROM invocation_shard AS shard WHERE shard.batch_id = batch.id),
       coalesce(fault, pause)
FROM invocation_batch AS batch WHERE id = %(batch)s
"""
ROWS_DONE = "SELECT coalesce(sum(position), 0) FROM invocation_shard WHERE batch_id = %(batch)s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batched:
    """How long all rows took, gathering included, and without; and the processor time of each process meanwhile."""

    seconds: float
    rows_s: float
    cpu_s: Mapping[str, float]


@dataclass(slots=True)
class BatchStage:
    """What stands for batches."""

    stage: Stage
    asking: Client
    tally: Path

    def manifest(self, rows: int) -> Path:
        """Write a manifest of so many rows."""
        path = self.stage.home / f"rows-{rows}.jsonl"
        self.asking.do("written", path=str(path), rows=rows)
        return path

    def plain(self, manifest: Path, *, at_once: int) -> Batched:
        """Ask for every row with plain asyncio."""
        told = self.asking.do("plain", manifest=str(manifest), output=str(manifest.with_suffix(".parquet")), at_once=at_once)
        return Batched(seconds=told["s"], rows_s=told["s"], cpu_s={"plain": told["cpu_s"]})

    def open(self, manifest: Path, *, shards: int) -> Any:
        """Open a batch over the rows and return its id."""
        self.stage.manage("batch", "run", str(manifest), "--endpoint", ENDPOINT, "--tenant", TENANT, "--shards", str(shards))
        return self.stage.value(NEWEST)

    def batch(self, manifest: Path, *, shards: int, patience: timedelta) -> Batched:
        """Run a batch over the rows to its end."""
        before = self.stage.cpu_s()
        batch = self.open(manifest, shards=shards)
        seconds, rows_s = self.must_complete(batch, patience=patience)
        after = self.stage.cpu_s()
        return Batched(seconds=seconds, rows_s=rows_s, cpu_s={name: used - before.get(name, 0.0) for name, used in after.items()})

    def must_complete(self, batch: Any, *, patience: timedelta) -> tuple[float, float]:
        """Wait for the batch; return the seconds of it all and of its rows. Raises DidNotHappen if it ends otherwise."""
        self.stage.wait(STOPPED, patience=patience, batch=batch)
        [(state, seconds, rows_s, why)] = self.stage.rows(TOOK, batch=batch)
        if state != "completed":
            raise DidNotHappen(f"the batch is {state}: {why}")
        return seconds, rows_s

    def answered(self) -> int:
        """Return how many answers the model has given, those that were lost with their process included."""
        return self.tally.stat().st_size if self.tally.exists() else 0


@contextmanager
def staged(*, workers: int, rows_in_flight: int, **settings: str) -> Iterator[BatchStage]:
    """Yield a stage whose `workers` processes of class p3 run so many rows at once each."""
    with tempfile.TemporaryDirectory(prefix="gearbox-tally-") as folder:
        yield from _staged(Path(folder) / "answers", workers, {"ROWS_IN_FLIGHT": str(rows_in_flight), **settings})


def _staged(tally: Path, workers: int, settings: Mapping[str, str]) -> Iterator[BatchStage]:
    told = {
        "SLOTS": "p3=2",
        TALLY: str(tally),
        "ENDPOINT_MODULES": f"config.endpoints,{ENDPOINTS}",
        "OFFLINE_FIRST_TOKEN_MS": str(ROW_MS),
        "OFFLINE_TOKEN_MS": "1",
        "OFFLINE_CAPACITY": "100000",
        **settings,
    }
    with stages.staged(**told) as stage:
        stage.manage("keys", "create", "--tenant", TENANT, "--plan", "house")
        limit = {"tokens": 2_000_000_000, "requests": 100_000_000, "p0_reserved": 0.1, "p3_cap": 0.9}
        stage.client("quoting").do("limit", provider="offline", model=MODEL, **limit)
        stage.end("quoting")
        stage.start("worker-control")
        for number in range(workers):
            stage.start("worker-p3", called=f"worker-p3-{number}")
        stage.wait("SELECT count(*) = %(workers)s FROM invocation_process WHERE priority_class = 'p3'", workers=workers)
        yield BatchStage(stage, stage.client("asking_rows"), tally)
