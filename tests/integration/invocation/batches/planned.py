"""Batches of the trial, and a worker that runs their shards."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow.parquet as pq
from kombu import Queue

from invocation.domain.batches import ShardState
from invocation.domain.budgets import Wish
from invocation.gateways import declared, objects
from invocation.models import Batch
from invocation.services import batches, datasets
from invocation.services.batches import BatchOpening
from invocation.services.shard_engine import ShardEngine
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import NOW, WISHES

TENANT = uuid4()
LINES = [{"row_id": f"row-{number:03d}", "text": f"row {number}", "says": [f"said {number}"]} for number in range(150)]


def manifest(lines: list[Any], *, raw: bytes | None = None) -> Path:
    path = objects.inside(TENANT, f"manifests/{uuid4()}.jsonl")
    objects.write_whole(path, raw if raw is not None else "".join(json.dumps(line) + "\n" for line in lines).encode())
    return path


def opened(lines: list[Any] | None = None, **terms: Any) -> Batch:
    endpoint = declared.book().find(terms.pop("endpoint", "trial-batch@1"))
    source = terms.pop("source", None) or manifest(LINES if lines is None else lines)
    wish = Wish(**{name: terms.pop(name) for name in WISHES if name in terms})
    opening = BatchOpening(tenant_id=TENANT, endpoint=endpoint, source=source, wish=wish, **{"shards": 4, **terms})
    return batches.open_batch(opening, now=NOW)


@dataclass(frozen=True, slots=True)
class Workers:
    """Runs shards as a p3 worker would, on a loop of their own."""

    on_loop: OnLoop[Any]

    def run(self, *shard_ids: int, owner: UUID | None = None) -> list[str]:
        async def story() -> list[str]:
            engine = ShardEngine(owner=owner or uuid4())
            return [await engine.run(shard_id) for shard_id in shard_ids]

        found: list[str] = self.on_loop(story())
        return found

    def finish(self, batch: Batch) -> Batch:
        """Send waves and run their shards until the batch has ended."""
        for _ in range(10):
            batches.next_wave(batch.pk, now=NOW)
            self.run(*batch.shards.filter(state=ShardState.QUEUED).order_by("index").values_list("pk", flat=True))
            batches.next_wave(batch.pk, now=NOW)
            batch.refresh_from_db()
            if batch.finished_at:
                return batch
        raise AssertionError("the batch did not end")


def results(batch: Batch) -> Counter[str]:
    return Counter(row["row_id"] for row in datasets.rows(batch.pk))


def errors(batch: Batch) -> Counter[str]:
    files = Path(batch.output).glob("errors/*.parquet")
    return Counter(row["row_id"] for file in files for row in pq.read_table(file).to_pylist())


def waiting(queue: Queue) -> int:
    """Return how many messages wait in a queue of the broker."""
    found: Any = queue.queue_declare()
    return int(found.message_count)
