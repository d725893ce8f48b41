"""Pause, resume, cancel, and running failed rows again: what is good is kept, and never called for twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from invocation.domain.batches import Pause
from invocation.domain.errors import NothingFailed, StaleMove
from invocation.gateways.database import off_loop
from invocation.models import Batch, BatchRow
from invocation.selectors import waves as seen
from invocation.services import batch_control, batches, shard_runs, waves
from invocation.services.shard_engine import ShardEngine
from tests.integration.invocation.batches.planned import LINES, Open, Workers, errors, is_stopping, opened, results
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import NOW
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
FAILING = [{"row_id": f"bad-{number}", "fails": "decline"} for number in range(6)]
MENDED = "the rows that declined"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(shard_runs, "LOOK_S", 0.01)
    settings.ROWS_OF_A_SHARD = 16


def declines(monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    monkeypatch.setattr("tests.integration.invocation.trial.fail", what)


def mended(_: str) -> None:
    """Whatever failed does not any more."""


def test_a_pause_reaches_a_running_shard_and_each_row_runs_once_all_the_same(on_loop: OnLoop[Any], workers: Workers) -> None:
    batch = opened([{**line, "wait": "pause"} for line in LINES], shards=1)

    async def story() -> str:
        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run((await off_loop(batch.shards.get)).pk))
        await until(lambda: DONE["runs"] == 16)
        await off_loop(batch_control.pause, batch.pk, now=NOW)
        await until(lambda: is_stopping(engine))
        GATES["pause"].set()
        return await running

    assert on_loop(story()) == "held"
    shard = batch.shards.get()
    assert (shard.state, shard.position, DONE["runs"], shard.reserved_calls) == ("queued", 16, 16, 0)
    GATES["pause"] = Open()  # type: ignore[assignment]
    batch_control.resume(batch.pk, now=NOW)
    workers.finish(batch)
    assert results(batch) == Counter(line["row_id"] for line in LINES)
    assert DONE["runs"] == len(LINES)


def test_too_many_failed_rows_pause_a_batch_and_it_goes_on_when_it_is_resumed(workers: Workers) -> None:
    lines = [*LINES[:20], *FAILING]
    batch = opened(lines, shards=1)
    Batch.objects.update(failures={"share": 0.2, "least": 10})
    workers.run(batch.shards.get().pk)
    batch.refresh_from_db()
    assert batch.pause is not None
    assert (batch.state, batch.pause["code"]) == ("paused", Pause.FAILURE_THRESHOLD)
    assert "6 of 26 rows failed: 6 with declined" in batch.pause["sentence"]

    batch_control.resume(batch.pk, now=NOW)
    assert workers.finish(batch).state == "completed"
    assert (len(results(batch)), len(errors(batch))) == (20, 6)
    assert DONE["runs"] == len(lines)


def test_failed_rows_alone_run_again_and_what_comes_of_them_is_merged(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    still = {"row_id": "worse", "fails": "crash"}
    batch = workers.finish(opened([*LINES[:20], *FAILING, still], shards=2))
    assert (len(results(batch)), len(errors(batch)), DONE["runs"]) == (20, 7, 27)

    from tests.integration.invocation import trial

    real = trial.fail
    declines(monkeypatch, lambda kind: real(kind) if kind == "crash" else None)
    assert batch_control.retry_failed(batch.pk, now=datetime.now(UTC)) == 7
    batch.refresh_from_db()
    assert (batch.state, batch.round, batch.finished_at) == ("running", 1, None)
    batch = workers.finish(batch)
    assert results(batch) == Counter([*(line["row_id"] for line in LINES[:20]), *(row["row_id"] for row in FAILING)])
    assert errors(batch) == Counter(["worse"])
    assert DONE["runs"] == 27 + 7
    assert Counter(BatchRow.objects.values_list("outcome", flat=True)) == {"completed": 6, "failed": 1}
    assert sum(batch.shards.values_list("failed_rows", flat=True)) == 1
    assert [found for found in batch.shards.values_list("errors", flat=True) if found] == [{"agent_crashed": 1}]

    declines(monkeypatch, mended)
    assert batch_control.retry_failed(batch.pk, now=datetime.now(UTC)) == 1
    batch = workers.finish(batch)
    assert (len(results(batch)), len(errors(batch)), DONE["runs"]) == (27, 0, 35)
    with pytest.raises(NothingFailed):
        batch_control.retry_failed(batch.pk, now=NOW)


def test_failed_rows_of_a_paused_batch_run_again_before_those_that_have_not_run(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = opened([*FAILING, *LINES], shards=1)
    Batch.objects.update(failures={"count": 1, "least": 1})
    monkeypatch.setattr(shard_runs, "CHECKPOINT_ROWS", 6)
    monkeypatch.setattr(shard_runs, "MOST_FINISHED", 6)
    workers.run(batch.shards.get().pk)
    batch.refresh_from_db()
    assert batch.state == "paused"
    ran = DONE["runs"]

    declines(monkeypatch, mended)
    assert batch_control.retry_failed(batch.pk, now=datetime.now(UTC)) == 6
    batch = workers.finish(batch)
    assert results(batch) == Counter([*(row["row_id"] for row in FAILING), *(line["row_id"] for line in LINES)])
    assert (errors(batch), DONE["runs"], ran < len(LINES)) == (Counter(), len(LINES) + 2 * len(FAILING), True)


def test_a_running_batch_does_not_run_failed_rows_again() -> None:
    batch = opened()
    with pytest.raises(StaleMove):
        batch_control.retry_failed(batch.pk, now=NOW)


def test_what_a_cancelled_batch_had_finished_is_published_as_a_part(workers: Workers) -> None:
    batch = opened(shards=2)
    first, _ = batch.shards.order_by("index")
    workers.run(first.pk)
    batch_control.cancel(batch.pk, now=NOW)
    for _ in range(2):
        waves.after_wave(batch.pk)
    batch.refresh_from_db()
    folder = Path(batch.output)

    assert (batch.state, batch.gathered_at is not None) == ("cancelled", True)
    assert (folder / "_PARTIAL").exists()
    assert not (folder / "_SUCCESS").exists()
    told = orjson.loads((folder / "_manifest.json").read_bytes())
    assert (told["partial"], told["results"]) == (True, first.rows)


def test_a_cancelled_batch_whose_message_was_lost_is_swept_up(workers: Workers) -> None:
    batch = opened(shards=1)
    batches.cancel(batch.pk, now=NOW)
    found = seen.left_behind(since=NOW, now=datetime.now(UTC))

    assert [each.pk for each in found] == [batch.pk]
    waves.after_wave(batch.pk)
    assert seen.left_behind(since=NOW, now=datetime.now(UTC)) == []
