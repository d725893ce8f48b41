"""Each row of a batch ends exactly once, in the results or in the errors, and inside the ceiling."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from invocation.gateways import parquet
from invocation.gateways.database import off_loop
from invocation.models import Batch, BatchRow, Outbox
from invocation.services import batches, datasets, shard_engine, shards
from invocation.services.shard_engine import ShardEngine
from quota.models import LedgerEntry
from tests.integration.invocation.batches.planned import LINES, Workers, errors, manifest, opened, results
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import NOW
from tests.integration.invocation.trial import DONE

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def test_every_row_of_a_batch_ends_in_the_dataset_once(workers: Workers) -> None:
    batch = workers.finish(opened())
    found = sorted(datasets.rows(batch.pk), key=lambda row: str(row["row_id"]))

    assert batch.state == "completed"
    assert [(row["row_id"], row["text"]) for row in found] == [(line["row_id"], line["says"][0]) for line in LINES]
    assert {**datasets.manifest(batch.pk)} | {"files": None} == {
        "batch": str(batch.pk),
        "endpoint": "trial-batch@1",
        "agent": "trial@1",
        "manifest_sha256": batch.manifest_sha256,
        "rows": 150,
        "results": 150,
        "errors": 0,
        "files": None,
    }
    assert not (Path(batch.output) / "_staging").exists()
    assert BatchRow.objects.filter(batch=batch, outcome="completed").count() == 150
    assert Outbox.objects.get(topic=batches.COMPLETED_TOPIC).run_id == batch.pk


def test_blank_lines_are_no_rows_and_confuse_no_slice(workers: Workers) -> None:
    raw = b"\n".join(json.dumps(line).encode() + b"\n" * (number % 3) for number, line in enumerate(LINES))
    batch = workers.finish(opened(source=manifest([], raw=raw), shards=7))

    assert results(batch) == Counter(line["row_id"] for line in LINES)


def test_rows_that_fail_are_recorded_beside_those_that_did_not(workers: Workers) -> None:
    lines = [*LINES[:5], {"row_id": "no", "fails": "decline"}, {"row_id": "crash", "fails": "crash"}]
    batch = workers.finish(opened(lines))

    assert results(batch) == Counter(line["row_id"] for line in LINES[:5])
    assert errors(batch) == Counter(["no", "crash"])
    assert sum(batch.shards.values_list("failed_rows", flat=True)) == 2


def test_a_batch_of_which_every_row_failed_has_an_empty_dataset(workers: Workers) -> None:
    batch = workers.finish(opened([{"row_id": "no", "fails": "decline"}]))

    assert (batch.state, list(datasets.rows(batch.pk)), errors(batch)) == ("completed", [], Counter(["no"]))


def test_a_curable_error_of_a_row_is_tried_again(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_engine, "RETRY_WAIT_S", 0.01)
    batch = workers.finish(opened([{"row_id": "once", "fails_once": "provider"}, {"row_id": "always", "fails": "provider"}], shards=1))

    assert (results(batch), errors(batch)) == (Counter(["once"]), Counter(["always"]))
    assert DONE["runs"] == 2 + 3


def test_a_kill_between_the_part_and_its_checkpoint_leaves_each_row_once(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = opened(shards=1)
    shard = batch.shards.get()
    with monkeypatch.context() as dying:
        dying.setattr(shards, "checkpoint", _after(1, shards.checkpoint))
        with pytest.raises(Killed):
            workers.run(shard.pk)
    shard.refresh_from_db()
    assert (shard.state, shard.position, len(shard.parts)) == ("working", 64, 1)
    assert len(list(Path(batch.output).glob("_staging/*/*.parquet"))) == 2

    assert batches.rescue_shards(now=NOW) == 1
    workers.finish(batch)
    assert results(batch) == Counter(line["row_id"] for line in LINES)
    assert BatchRow.objects.filter(batch=batch).count() == 150
    assert DONE["runs"] == 150 + 64


class Killed(BaseException):
    """The process would be gone here: nothing that catches errors catches this."""


def _after(calls: int, real: Callable[..., None]) -> Callable[..., None]:
    """Return the real thing for so many calls, and death for the next."""
    left = iter(range(calls))

    def dying(*args: Any) -> None:
        if next(left, None) is None:
            raise Killed
        real(*args)

    return dying


def test_no_row_is_called_for_once_the_ceiling_is_reached(workers: Workers) -> None:
    lines = [{"row_id": f"row-{number:03d}", "model": f"What is new in {number}?"} for number in range(128)]
    batch = opened(lines, shards=1)
    Batch.objects.filter(pk=batch.pk).update(cost_cap_usd=Decimal("0.000001"))
    batch = workers.finish(batch)

    assert results(batch) == Counter()
    assert errors(batch) == Counter(line["row_id"] for line in lines)
    assert set(BatchRow.objects.values_list("error_code", flat=True)) == {"budget_exceeded"}
    assert not LedgerEntry.objects.exists()


def test_shards_that_run_at_once_spend_no_more_than_the_ceiling(on_loop: OnLoop[Any]) -> None:
    lines = [{"row_id": f"row-{number:03d}", "model": f"What is new in {number}?"} for number in range(128)]
    batch = opened(lines, shards=4, cost_usd=Decimal("0.03"))

    async def story() -> list[str]:
        engine = ShardEngine(owner=uuid4())
        shard_ids = await off_loop(lambda: list(batch.shards.values_list("pk", flat=True)))
        return list(await asyncio.gather(*(engine.run(shard_id) for shard_id in shard_ids)))

    assert on_loop(story()) == ["completed"] * 4
    spent = sum(batch.shards.values_list("cost_usd", flat=True), Decimal(0))
    outcomes = Counter(BatchRow.objects.values_list("error_code", flat=True))
    assert set(outcomes) == {"", "budget_exceeded"}
    assert sum(outcomes.values()) == len(lines)
    assert 0 < spent <= batch.cost_cap_usd
    assert spent == sum(LedgerEntry.objects.values_list("cost_usd", flat=True), Decimal(0))


def test_a_shard_that_breaks_is_tried_again_and_the_third_time_its_batch_fails(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = opened(shards=2)
    batches.next_wave(batch.pk, now=NOW)
    shard = batch.shards.get(index=0)
    monkeypatch.setattr(parquet, "write_part", _full_disk)
    states = []
    for _ in range(shards.FAILURES_OF_A_BATCH):
        assert workers.run(shard.pk) == ["failed"]
        shard.refresh_from_db()
        batch.refresh_from_db()
        states.append((shard.state, batch.state))

    assert states == [("queued", "running"), ("queued", "running"), ("cancelled", "failed")]
    assert batch.fault is not None
    assert "No space left" in batch.fault["sentence"]
    assert batches.next_wave(batch.pk, now=NOW) == 0


def _full_disk(*_: Any) -> str:
    raise OSError("No space left on device")
