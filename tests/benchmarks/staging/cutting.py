"""A process that plans a batch as a worker does, and then makes the checkpoints of all its shards, of rows that do nothing."""

# ruff: noqa: E402  (Django before what needs it)

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from invocation.domain.batches import CHECKPOINT_ROWS, part_name
from invocation.domain.manifests import form_of
from invocation.gateways import declared
from invocation.models import Batch
from invocation.services import batch_openings, planning, shards
from invocation.services.batch_openings import BatchOpening
from invocation.services.manifests import Manifest
from invocation.services.shards import Checkpoint

ENDPOINT = "enrich@1"
MB = 1024


def written(*, path: str, rows: int) -> dict[str, int]:
    """Write a manifest of so many titles, a line each."""
    with Path(path).open("wb") as file:
        file.writelines(b'{"row_id":"sku-%08d","title":"monster-volume-%d"}\n' % (number, number) for number in range(rows))
    return {"bytes": Path(path).stat().st_size}


def planned(*, path: str) -> dict[str, object]:
    """Plan a batch; return its id, the seconds, and the most memory that this process ever had, in MB."""
    manifest = Manifest(location=path, form=form_of(path))
    opening = BatchOpening(tenant_id=uuid4(), endpoint=declared.book().find(ENDPOINT), manifest=manifest)
    batch = batch_openings.open_unread(opening, now=datetime.now(UTC))
    began = time.perf_counter()
    planning.plan(batch.pk)
    seconds = time.perf_counter() - began
    batch.refresh_from_db()
    if batch.state != "planned":
        raise RuntimeError(f"The batch is {batch.state}: {batch.fault}")
    return {"batch": str(batch.pk), "seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB}


def checkpointed(*, batch: str) -> dict[str, float]:
    """Claim each shard, commit all its rows by checkpoints as large as a worker's, complete it; return the seconds and the checkpoints."""
    began, count, owner = time.perf_counter(), 0, uuid4()
    for shard_id in list(Batch.objects.get(pk=UUID(batch)).shards.order_by("index").values_list("pk", flat=True)):
        claimed = shards.claim(shard_id, owner=owner)
        if claimed is None:
            raise RuntimeError(f"Shard {shard_id} cannot be claimed.")
        for number, position in enumerate(_positions(claimed.shard.rows)):
            part = part_name(shard=claimed.shard.index, number=number, attempt=claimed.shard.attempt)
            shards.checkpoint(claimed.shard, Checkpoint(part=part, position=position, ahead=[], errors={}))
            count += 1
        shards.complete(claimed.shard)
    return {"seconds": time.perf_counter() - began, "checkpoints": count}


def _positions(rows: int) -> Iterator[int]:
    yield from range(CHECKPOINT_ROWS, rows, CHECKPOINT_ROWS)
    yield rows


ACTS = {"written": written, "planned": planned, "checkpointed": checkpointed}
