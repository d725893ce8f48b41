"""Waves go out, come back or are swept up; a batch is gathered once, cancelled, or held."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu import Queue

from invocation.domain.batches import BatchState
from invocation.domain.errors import StaleMove
from invocation.gateways import objects
from invocation.gateways.presence import own_connection
from invocation.models import Batch, BatchRow
from invocation.models.admission import HoldScope
from invocation.services import batches, datasets, holds, shards
from invocation.services.shard_engine import ShardEngine
from tests.integration.invocation.batches.planned import LINES, TENANT, Workers, opened, waiting
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import NOW, a_process
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def test_a_wave_goes_out_as_one_chord_and_ends_in_one_callback(p3: Queue) -> None:
    batch = opened()

    assert batches.next_wave(batch.pk, now=NOW) == 4
    assert waiting(p3) == 4
    batch.refresh_from_db()
    assert (batch.state, batch.wave, batch.wave_at) == ("running", 1, NOW)


def test_a_lost_callback_is_swept_up(workers: Workers) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    workers.run(*batch.shards.values_list("pk", flat=True))
    a_process("p3", lease=timedelta(hours=1))

    assert batches.sweep(now=NOW + batches.WAVE_TRUSTED / 2) == 0
    batches.sweep(now=NOW + 2 * batches.WAVE_TRUSTED)
    batch.refresh_from_db()
    assert batch.state == "completed"


def test_a_wave_whose_messages_were_lost_is_sent_again(p3: Queue) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    p3.purge()
    a_process("p3", lease=timedelta(hours=1))

    assert batches.sweep(now=NOW + 2 * batches.WAVE_TRUSTED) == 4
    assert waiting(p3) == 4


def test_the_sweep_leaves_a_batch_at_work_alone() -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    shards.claim(batch.shards.order_by("index")[0].pk, owner=a_process("p3", lease=timedelta(hours=1)).pk)

    assert batches.sweep(now=NOW + 2 * batches.WAVE_TRUSTED) == 0


def test_the_sweep_sends_nothing_again_while_every_slot_is_busy(p3: Queue) -> None:
    waiting_batch, busy = opened(), opened()
    worker = a_process("p3", slots=1, lease=timedelta(hours=1))
    shards.claim(busy.shards.order_by("index")[0].pk, owner=worker.pk)

    assert batches.sweep(now=NOW) == 0
    assert waiting(p3) == 0
    shards.return_broken_off(shards.held_by(worker.pk))
    Batch.objects.filter(pk=busy.pk).update(state=BatchState.CANCELLED, finished_at=NOW)
    assert batches.sweep(now=NOW) == waiting_batch.shards.count()


def test_the_callback_of_an_older_wave_changes_nothing(workers: Workers) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    batches.next_wave(batch.pk, now=NOW)
    batches.after_wave(batch.pk, 1)
    batch.refresh_from_db()

    assert batch.wave == 2


def test_a_wave_that_was_told_to_wait_is_not_sent_again_at_once() -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    batches.after_wave(batch.pk, 1, outcomes=["held", "held"])
    batch.refresh_from_db()
    assert batch.wave == 1

    batches.after_wave(batch.pk, 1, outcomes=["held", "handed_back"])
    batch.refresh_from_db()
    assert batch.wave == 2


def test_gathering_twice_writes_the_same(workers: Workers) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    workers.run(*batch.shards.values_list("pk", flat=True))
    folder = Path(batch.output)
    kept = {part: part.read_bytes() for part in folder.glob("_staging/*/*.parquet")}
    batches.gather(batch.pk, now=NOW)
    first = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.GATHERING, finished_at=None)
    for part, content in kept.items():
        objects.write_whole(part, content)
    batches.gather(batch.pk, now=NOW)

    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == first
    assert not list(folder.rglob(".*"))
    batches.gather(batch.pk, now=NOW + timedelta(hours=1))
    batch.refresh_from_db()
    assert batch.finished_at == NOW


def test_a_dataset_is_not_read_before_it_is_whole(workers: Workers) -> None:
    batch = opened()
    with pytest.raises(FileNotFoundError):
        datasets.manifest(batch.pk)


@pytest.mark.parametrize("state", BatchState)
def test_a_batch_is_cancelled_before_it_is_gathered_only(state: BatchState) -> None:
    batch = opened(shards=2)
    ended = state in {BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED}
    Batch.objects.filter(pk=batch.pk).update(state=state, finished_at=NOW if ended else None)
    if state not in {BatchState.PLANNED, BatchState.RUNNING}:
        with pytest.raises(StaleMove):
            batches.cancel(batch.pk, now=NOW)
        return
    batches.cancel(batch.pk, now=NOW)

    batch.refresh_from_db()
    assert (batch.state, set(batch.shards.values_list("state", flat=True))) == ("cancelled", {"cancelled"})
    assert batches.next_wave(batch.pk, now=NOW) == 0


def test_a_running_shard_of_a_cancelled_batch_stops_at_its_checkpoint(on_loop: OnLoop[Any]) -> None:
    batch = opened([{**line, "wait": "cancel"} for line in LINES], shards=1)

    async def story() -> str:
        import asyncio

        from invocation.gateways.database import off_loop

        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run((await off_loop(batch.shards.get)).pk))
        await until(lambda: DONE["runs"] > 0)
        await off_loop(batches.next_wave, batch.pk, now=NOW)
        await off_loop(batches.cancel, batch.pk, now=NOW)
        GATES["cancel"].set()
        return await running

    assert on_loop(story()) == "stale"
    assert DONE["runs"] == 64
    assert not BatchRow.objects.exists()


@pytest.mark.parametrize(
    ("scope", "value"), [("endpoint", "trial-batch@1"), ("agent", "trial@1"), ("class", "p3"), ("tenant", str(TENANT))]
)
def test_a_held_batch_sends_no_wave(p3: Queue, scope: str, value: str) -> None:
    batch = opened()
    hold = holds.hold(HoldScope(scope), value, reason="a repair", by=None, now=NOW)
    assert batches.next_wave(batch.pk, now=NOW) == 0
    assert waiting(p3) == 0

    holds.release(hold.pk, by=None, now=NOW)
    a_process("p3")
    assert batches.sweep(now=NOW) == 4


def test_a_batch_is_gathered_by_one_process_at_a_time(workers: Workers) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    workers.run(*batch.shards.values_list("pk", flat=True))
    with own_connection() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [batch.pk.int >> 65])
        batches.gather(batch.pk, now=NOW)
        batch.refresh_from_db()
        assert batch.state == "running"
        other.execute("SELECT pg_advisory_unlock(%s)", [batch.pk.int >> 65])

    batches.gather(batch.pk, now=NOW)
    batch.refresh_from_db()
    assert batch.state == "completed"
