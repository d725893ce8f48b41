"""Waves go out, come back or are swept up; a batch is gathered once, cancelled, or held."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import celery
import pytest
from kombu import Queue
from redis import ResponseError

from invocation.domain.batches import BATCH_ENDED, BatchState, Pause
from invocation.domain.errors import StaleMove
from invocation.gateways import dispatch, objects, parquet
from invocation.gateways.database import BATCH, off_loop
from invocation.gateways.presence import own_connection
from invocation.models import Batch, Process, Shard
from invocation.models.admission import HoldScope
from invocation.selectors import waves as seen
from invocation.services import batch_pauses, batches, datasets, gathering, holds, shard_runs, shards, waves
from invocation.services.shard_engine import ShardEngine
from tests.integration.invocation.batches.planned import LINES, TENANT, Open, Workers, is_stopping, opened, results, waiting
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.crew import wait_until
from tests.integration.invocation.crossing import beside, is_waited
from tests.integration.invocation.rows import NOW, a_process
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def worker() -> Process:
    return a_process("p3", slots=16, lease=timedelta(hours=1))


def test_a_wave_goes_out_as_one_chord_and_ends_in_one_callback(p3: Queue) -> None:
    batch = opened()

    assert waves.admit(now=NOW) == 4
    assert waiting(p3) == 4
    batch.refresh_from_db()
    assert (batch.state, batch.wave, batch.wave_at, batch.started_at) == ("running", 1, NOW, NOW)


def test_the_messages_of_a_wave_are_not_read_long_after_the_sweep_has_sent_others(p3: Queue) -> None:
    opened(shards=1)
    waves.admit(now=NOW)
    message: Any = p3.get(no_ack=True)
    _, _, embedded = message.decode()

    assert datetime.fromisoformat(message.headers["expires"]) <= datetime.now(UTC) + timedelta(seconds=dispatch.MESSAGE_LIFE_S)
    assert embedded["chord"]["options"]["expires"] == dispatch.MESSAGE_LIFE_S


def test_no_more_is_sent_than_there_are_free_slots(worker: Process, p3: Queue) -> None:
    Process.objects.update(slots=3)
    batch = opened()

    assert [waves.admit(now=NOW), waves.admit(now=NOW)] == [3, 0]
    [first, *_] = batch.shards.order_by("index")
    held = shards.claim(first.pk, owner=worker.pk)
    assert held is not None
    assert waves.admit(now=NOW) == 0
    Shard.objects.filter(pk=first.pk).update(position=first.rows)
    shards.complete(held.shard)
    assert waves.admit(now=NOW) == 1
    assert waiting(p3) == 4


def test_without_a_worker_nothing_is_sent(p3: Queue) -> None:
    Process.objects.all().delete()
    opened()

    assert (waves.admit(now=NOW), waiting(p3)) == (0, 0)


def test_a_small_batch_is_not_behind_another_tenants_big_one(p3: Queue) -> None:
    Process.objects.update(slots=4)
    big = opened(shards=64)
    assert waves.admit(now=NOW) == 4
    small = opened(LINES[:8], shards=2, tenant=uuid4())
    Shard.objects.filter(batch=big, sent_at=NOW, index__lt=2).update(state="completed", finished_at=NOW)

    assert waves.admit(now=NOW) == 2
    assert small.shards.filter(sent_at=NOW).count() == 2


def test_two_batches_of_one_tenant_share_its_slots() -> None:
    Process.objects.update(slots=6)
    first, second = opened(shards=8), opened(shards=8)

    assert waves.admit(now=NOW) == 6
    assert [batch.shards.filter(sent_at=NOW).count() for batch in (first, second)] == [3, 3]


def test_a_lost_callback_is_swept_up(workers: Workers, p3: Queue) -> None:
    batch = opened()
    waves.admit(now=NOW)
    workers.run(*batch.shards.values_list("pk", flat=True))
    p3.purge()

    waves.sweep(now=NOW + waves.TRUSTED / 2)
    assert waiting(p3) == 0
    waves.sweep(now=NOW + 2 * waves.TRUSTED)
    assert waiting(p3) == 1
    waves.sweep(now=NOW + 2 * waves.TRUSTED)
    assert waiting(p3) == 1
    waves.after_wave(batch.pk)
    batch.refresh_from_db()
    assert batch.state == "completed"


def test_a_wave_whose_messages_were_lost_is_sent_again(p3: Queue) -> None:
    opened()
    waves.admit(now=NOW)
    p3.purge()

    assert waves.sweep(now=NOW + waves.TRUSTED / 2) == 0
    assert waves.sweep(now=NOW + 2 * waves.TRUSTED) == 4
    assert waiting(p3) == 4


def test_shards_that_are_sent_behind_a_long_gathering_are_sent_then(workers: Workers) -> None:
    Process.objects.update(slots=4, lease_until=datetime.now(UTC) + timedelta(hours=1))
    done = opened()
    workers.run(*done.shards.values_list("pk", flat=True))
    other = opened(tenant=uuid4())
    with ThreadPoolExecutor(1) as threads, own_connection(using=BATCH) as session:
        with session.transaction():
            session.execute("SELECT FROM invocation_batch WHERE id = %s FOR UPDATE", [done.pk])
            ended = threads.submit(beside(lambda: waves.after_wave(done.pk)))
            wait_until(is_waited)
            has_waited = datetime.now(UTC)
        ended.result()

    assert other.shards.filter(sent_at__gt=has_waited).count() == other.shards.count()


def test_two_sweeps_at_once_send_nothing_twice(p3: Queue) -> None:
    opened()
    sent: list[int] = []
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(beside(lambda: sent.append(waves.sweep(now=NOW))))

    assert (sorted(sent), waiting(p3)) == ([0, 0, 0, 4], 4)


def test_without_a_broker_a_shard_counts_as_not_sent(settings: Any, p3: Queue) -> None:
    opened()
    settings.CELERY_APP = "tests.integration.invocation.api.cut_off.app"
    assert waves.admit(now=NOW) == 0
    settings.CELERY_APP = "config.celery.app"

    assert waves.admit(now=NOW) == 4


def test_a_broker_that_refuses_a_wave_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that reads its files, or was made a replica."""

    def refused(*_: Any, **__: Any) -> None:
        raise ResponseError("READONLY You can't write against a read only replica.")

    batch = opened(shards=1)
    monkeypatch.setattr(celery.chord, "__call__", refused)
    assert waves.admit(now=NOW) == 0
    assert batch.shards.get().sent_at is None


def test_admission_reads_what_waits_by_its_index_however_many_shards_there_are() -> None:
    batch = opened(shards=4)
    done = [
        Shard(batch=batch, index=10 + number, first_line=1, offset=0, rows=1, position=1, state="completed", finished_at=NOW)
        for number in range(20_000)
    ]
    Shard.objects.bulk_create(done, batch_size=5_000)
    since = NOW - waves.TRUSTED
    with own_connection(using=BATCH) as session:
        session.execute("ANALYZE invocation_shard")
        plans = [
            session.execute("EXPLAIN " + seen.AT_WORK, {"since": since}),
            session.execute(
                "EXPLAIN " + seen.WAITING, {"batches": [batch.pk], "usd": [1], "tokens": [1], "most": 4, "since": since, "now": NOW}
            ),
        ]
        told = ["\n".join(line for (line,) in plan.fetchall()) for plan in plans]

    assert all("Seq Scan on invocation_shard" not in plan for plan in told), told
    assert "shard_waiting" in told[1]


def test_a_shard_makes_way_for_a_tenant_that_has_fewer_at_work(worker: Process) -> None:
    Process.objects.update(slots=2)
    big = opened(shards=8)
    for shard in big.shards.order_by("index")[:2]:
        assert shards.claim(shard.pk, owner=worker.pk)
    assert not waves.others_wait(big, now=NOW)

    small = opened(LINES[:4], shards=1, tenant=uuid4())
    assert waves.others_wait(big, now=NOW)
    assert not waves.others_wait(small, now=NOW)
    Process.objects.update(slots=3)
    assert not waves.others_wait(big, now=NOW)


def test_behind_its_time_slice_a_shard_ends_at_a_checkpoint_and_its_rows_run_once(
    on_loop: OnLoop[Any], workers: Workers, worker: Process, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SHARD_SLICE_S, settings.ROWS_OF_A_SHARD = 0.0, 16
    monkeypatch.setattr(shard_runs, "LOOK_S", 0.01)
    Process.objects.update(slots=1, lease_until=datetime.now(UTC) + timedelta(hours=1))
    big = opened([{**line, "wait": "slice"} for line in LINES], shards=1)
    opened(LINES[:4], shards=1, tenant=uuid4())

    async def story() -> str:
        engine = ShardEngine(owner=worker.pk)
        running = asyncio.create_task(engine.run((await off_loop(big.shards.get)).pk))
        await until(lambda: DONE["runs"] == 16)
        await until(lambda: is_stopping(engine))
        GATES["slice"].set()
        return await running

    assert on_loop(story()) == "sliced"
    shard = big.shards.get()
    assert (shard.state, shard.owner, shard.sent_at, shard.position) == ("queued", None, None, DONE["runs"])
    GATES.clear()
    GATES["slice"] = Open()  # type: ignore[assignment]
    workers.finish(big)
    assert results(big) == Counter(line["row_id"] for line in LINES)
    assert DONE["runs"] == len(LINES)


def test_gathering_twice_writes_the_same(workers: Workers) -> None:
    batch = opened()
    waves.admit(now=NOW)
    workers.run(*batch.shards.values_list("pk", flat=True))
    folder = Path(batch.output)
    kept = {part: part.read_bytes() for part in folder.glob("_staging/*/*.parquet")}
    gathering.gather(batch.pk, now=NOW)
    first = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    begun = datetime.now(UTC)
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.GATHERING, finished_at=None)
    for part, content in kept.items():
        objects.write_whole(part, content)
    gathering.gather(batch.pk, now=NOW)

    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == first
    assert not list(folder.rglob(".*"))
    ended = datetime.now(UTC)
    gathering.gather(batch.pk, now=NOW + timedelta(hours=1))
    batch.refresh_from_db()
    assert batch.finished_at is not None
    assert begun <= batch.finished_at <= ended  # when it was written, not when that began


def test_a_dataset_is_not_read_before_it_is_whole(workers: Workers) -> None:
    batch = opened()
    with pytest.raises(FileNotFoundError):
        datasets.manifest(batch.pk)


@pytest.mark.parametrize("state", BatchState)
def test_a_batch_is_cancelled_before_its_end_only(state: BatchState) -> None:
    batch = opened(shards=2)
    ended = state in BATCH_ENDED
    Batch.objects.filter(pk=batch.pk).update(
        state=state, finished_at=NOW if ended else None, pause={"code": "asked"} if state == BatchState.PAUSED else None
    )
    if ended:
        with pytest.raises(StaleMove):
            batches.cancel(batch.pk, now=NOW)
        return
    batches.cancel(batch.pk, now=NOW)

    batch.refresh_from_db()
    assert (batch.state, set(batch.shards.values_list("state", flat=True))) == ("cancelled", {"cancelled"})
    assert waves.go_on(batch.pk, now=NOW) == 0


def test_what_a_shard_has_finished_when_its_batch_is_cancelled_is_kept(on_loop: OnLoop[Any]) -> None:
    batch = opened([{**line, "wait": "never"} if place >= 4 else line for place, line in enumerate(LINES)], shards=1)

    async def story() -> str:
        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run((await off_loop(batch.shards.get)).pk))
        await until(lambda: DONE["runs"] > 8)
        await off_loop(waves.go_on, batch.pk, now=NOW)
        await off_loop(batches.cancel, batch.pk, now=NOW)
        return await running

    assert on_loop(story()) == "ended"
    shard = batch.shards.get()
    assert (shard.state, shard.owner, shard.done) == ("cancelled", None, 4)
    gathering.gather_rest(batch.pk, now=datetime.now(UTC))
    assert parquet.read_manifest(datasets.store_of(batch), mark=parquet.PARTIAL)["rows"] == 4


def test_a_cancelled_batch_is_gathered_when_its_last_shard_has_let_go(on_loop: OnLoop[Any]) -> None:
    batch = opened(shards=2)
    claimed = shards.claim(batch.shards.order_by("index")[0].pk, owner=uuid4())
    assert claimed is not None
    batches.cancel(batch.pk, now=NOW)
    assert list(batch.shards.order_by("index").values_list("state", flat=True)) == ["working", "cancelled"]
    assert not seen.is_ungathered(batch.pk)

    assert batches.rescue_shards(now=NOW) == 1
    assert not seen.is_ungathered(batch.pk)
    batches.cancel_left(now=NOW)
    assert set(batch.shards.values_list("state", flat=True)) == {"cancelled"}
    assert seen.is_ungathered(batch.pk)


def test_shards_that_wait_for_another_round_are_not_cancelled_with_those_of_ended_batches() -> None:
    batch = opened(shards=2)
    batches.cancel_left(now=NOW)
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.COMPLETED, finished_at=NOW)
    batches.cancel_left(now=NOW)
    assert set(batch.shards.values_list("state", flat=True)) == {"queued"}


@pytest.mark.parametrize(
    ("scope", "value"), [("endpoint", "trial-batch@1"), ("agent", "trial@1"), ("class", "p3"), ("tenant", str(TENANT))]
)
def test_a_held_batch_sends_no_wave(p3: Queue, scope: str, value: str) -> None:
    batch = opened()
    hold = holds.hold(HoldScope(scope), value, reason="a repair", by=None, now=NOW)
    assert waves.go_on(batch.pk, now=NOW) == 0
    assert waiting(p3) == 0

    holds.release(hold.pk, by=None, now=NOW)
    assert waves.sweep(now=NOW) == 4


def test_a_batch_is_gathered_by_one_process_at_a_time(workers: Workers) -> None:
    batch = opened()
    waves.admit(now=NOW)
    workers.run(*batch.shards.values_list("pk", flat=True))
    with own_connection(using=BATCH) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [batch.pk.int >> 65])
        gathering.gather(batch.pk, now=NOW)
        batch.refresh_from_db()
        assert batch.state == "running"
        other.execute("SELECT pg_advisory_unlock(%s)", [batch.pk.int >> 65])

    gathering.gather(batch.pk, now=NOW)
    batch.refresh_from_db()
    assert batch.state == "completed"


def test_a_paused_batch_says_why_and_waits_until_it_is_resumed(p3: Queue) -> None:
    batch = opened()
    batch_pauses.pause(batch.pk, Pause.ASKED, "Somebody asked for it.", now=NOW)
    batch.refresh_from_db()
    assert (batch.state, batch.pause) == ("paused", {"code": "asked", "sentence": "Somebody asked for it.", "at": NOW.isoformat()})
    assert waves.go_on(batch.pk, now=NOW) == 0
    assert shards.claim(batch.shards.order_by("index")[0].pk, owner=uuid4()) is None
    with pytest.raises(StaleMove):
        batch_pauses.pause(batch.pk, Pause.ASKED, "Again.", now=NOW)

    batch_pauses.resume(batch.pk, now=NOW)
    batch.refresh_from_db()
    assert (batch.state, batch.pause, batch.started_at) == ("running", None, NOW)
    assert waves.go_on(batch.pk, now=NOW) == 4
    with pytest.raises(StaleMove):
        batch_pauses.resume(batch.pk, now=NOW)
