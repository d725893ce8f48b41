"""Batches of the trial, and a worker that runs their shards."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow.parquet as pq
from kombu import Queue

from invocation.domain.batches import ShardState
from invocation.domain.budgets import Wish
from invocation.domain.manifests import form_of
from invocation.gateways import declared, objects
from invocation.models import Batch
from invocation.services import batch_openings, datasets, waves
from invocation.services.batch_openings import BatchOpening
from invocation.services.manifests import Manifest
from invocation.services.shard_engine import ShardEngine
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import NOW, WISHES, a_process

TENANT = uuid4()
LINES = [{"row_id": f"row-{number:03d}", "text": f"row {number}", "says": [f"said {number}"]} for number in range(150)]


def manifest(lines: list[Any], *, raw: bytes | None = None) -> Path:
    path = Path(objects.store_of(TENANT).at(f"manifests/{uuid4()}.jsonl"))
    objects.write_whole(path, raw if raw is not None else "".join(json.dumps(line) + "\n" for line in lines).encode())
    return path


def opened(lines: list[Any] | None = None, **terms: Any) -> Batch:
    endpoint = declared.book().find(terms.pop("endpoint", "trial-batch@1"))
    source = terms.pop("source", None) or manifest(LINES if lines is None else lines)
    of = Manifest(location=str(source), form=form_of(source.name), row_id=terms.pop("row_id", None))
    wish = Wish(**{name: terms.pop(name) for name in WISHES if name in terms})
    opening = BatchOpening(tenant_id=terms.pop("tenant", TENANT), endpoint=endpoint, manifest=of, wish=wish, **{"shards": 4, **terms})
    return batch_openings.open_batch(opening, now=NOW)


def unread(of: Manifest, **terms: Any) -> Batch:
    """Open a batch whose manifest a worker is to read."""
    endpoint = declared.book().find("trial-batch@1")
    opening = BatchOpening(tenant_id=terms.pop("tenant", TENANT), endpoint=endpoint, manifest=of, **{"shards": 4, **terms})
    return batch_openings.open_unread(opening, now=NOW)


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
        a_process("p3", slots=1_000, now=datetime.now(UTC), lease=timedelta(hours=1))
        for _ in range(10):
            waves.go_on(batch.pk, now=datetime.now(UTC))
            self.run(*batch.shards.filter(state=ShardState.QUEUED).order_by("index").values_list("pk", flat=True))
            waves.after_wave(batch.pk)
            batch.refresh_from_db()
            if batch.finished_at:
                return batch
        raise AssertionError("the batch did not end")


def results(batch: Batch) -> Counter[str]:
    return Counter(row["row_id"] for row in datasets.rows(batch.pk))


def errors(batch: Batch) -> Counter[str]:
    return Counter(row["row_id"] for row in failed_rows(batch))


def failed_rows(batch: Batch) -> list[dict[str, Any]]:
    files = Path(batch.output).glob("errors/*.parquet")
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def is_stopping(engine: ShardEngine) -> bool:
    """Say whether no row of a shard of this process begins any more."""
    return all(work and work._why for work in engine._running.values())


class Open:
    """A gate that stands open on every loop."""

    async def wait(self) -> None:
        return


def waiting(queue: Queue) -> int:
    """Return how many messages wait in a queue of the broker."""
    found: Any = queue.queue_declare()
    return int(found.message_count)
