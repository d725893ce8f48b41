"""A hold on a batch: its shards and rows wait, what was paid for is kept, and a release sends it on at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from kombu import Queue

from config.celery import app
from invocation.domain.batches import Pause, ShardState
from invocation.gateways.database import off_loop
from invocation.models import Batch
from invocation.models.admission import HoldScope
from invocation.selectors import batches as seen
from invocation.services import batch_pauses, holds, shard_runs, shards, waves
from invocation.services.shard_engine import ShardEngine
from tests.integration.invocation.batches.planned import LINES, TENANT, Open, Workers, is_stopping, opened, results, waiting
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import NOW, a_process
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
SCOPES = [("endpoint", "trial-batch@1"), ("agent", "trial@1"), ("class", "p3"), ("tenant", str(TENANT))]


@pytest.fixture
def control() -> Iterator[Queue]:
    with app.connection_for_write() as broker:
        queue = app.amqp.queues["control"](broker.default_channel)
        queue.declare()
        queue.purge()
        yield queue
        queue.purge()


@pytest.mark.parametrize(("scope", "value"), SCOPES)
def test_a_shard_whose_message_was_on_its_way_waits(workers: Workers, scope: str, value: str) -> None:
    batch = opened()
    waves.go_on(batch.pk, now=NOW)
    found = holds.hold(HoldScope(scope), value, reason="r", by=None, now=NOW)
    assert set(workers.run(*batch.shards.values_list("pk", flat=True))) == {"taken"}
    assert waves.go_on(batch.pk, now=NOW) == 0
    assert set(batch.shards.values_list("state", flat=True)) == {"queued"}

    holds.release(found.pk, by=None, now=NOW)
    assert workers.finish(batch).state == "completed"


@pytest.mark.parametrize(("scope", "value"), SCOPES)
def test_a_release_asks_for_the_next_wave(control: Queue, scope: str, value: str) -> None:
    opened()
    found = holds.hold(HoldScope(scope), value, reason="r", by=None, now=NOW)
    assert waiting(control) == 0
    holds.release(found.pk, by=None, now=NOW)

    assert waiting(control) == 1


def test_a_release_of_something_else_sends_no_batch_on(control: Queue) -> None:
    opened()
    found = holds.hold(HoldScope.CLASS, "p1", reason="r", by=None, now=NOW)
    holds.release(found.pk, by=None, now=NOW)

    assert waiting(control) == 0


def test_without_a_broker_a_release_is_left_to_the_sweep(settings: Any, p3: Queue) -> None:
    batch = opened()
    found = holds.hold(HoldScope.CLASS, "p3", reason="r", by=None, now=NOW)
    settings.CELERY_APP = "tests.integration.invocation.api.cut_off.app"
    holds.release(found.pk, by=None, now=NOW)
    settings.CELERY_APP = "config.celery.app"
    a_process("p3", lease=timedelta(hours=1))

    assert waves.sweep(now=NOW) == 4
    assert batch.shards.filter(state=ShardState.QUEUED).count() == 4


def test_rows_that_have_not_begun_wait_and_those_that_ran_are_kept(
    on_loop: OnLoop[Any], workers: Workers, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen rows run at once; the hold comes while they do: they end, the others of their block do not begin."""
    monkeypatch.setattr(shard_runs, "LOOK_S", 0.01)
    settings.ROWS_OF_A_SHARD = 16
    batch = opened([{**line, "wait": "open"} for line in LINES], shards=1)
    shard = batch.shards.get()

    async def story() -> str:
        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run(shard.pk))
        await until(lambda: DONE["runs"] == 16)
        await off_loop(holds.hold, HoldScope.CLASS, "p3", reason="r", by=None, now=NOW)
        await until(lambda: is_stopping(engine))
        GATES["open"].set()
        return await running

    assert on_loop(story()) == "held"
    shard.refresh_from_db()
    assert (shard.state, shard.position, DONE["runs"]) == ("queued", 16, 16)

    holds.release_value(HoldScope.CLASS, "p3", by=None, now=NOW)
    GATES.clear()
    assert finished(workers, batch) == [f"row-{number:03d}" for number in range(len(LINES))]


def finished(workers: Workers, batch: Batch) -> list[str]:
    """Let every gate stand open, finish, and return the rows of the dataset."""
    GATES["open"] = Open()  # type: ignore[assignment]
    workers.finish(batch)
    found = results(batch)
    assert set(found.values()) == {1}
    return sorted(found)


def test_a_shard_of_a_batch_that_is_gone_is_not_claimed() -> None:
    assert shards.claim(10**9, owner=uuid4()) is None


def test_a_shard_with_many_parts_writes_the_next_late_but_at_once_when_it_is_to_stop(
    on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_runs, "CHECKPOINT_S", 0.1)
    monkeypatch.setattr(shard_runs, "LOOK_S", 0.05)
    batch = opened([*LINES[:-1], {**LINES[-1], "wait": "late"}], shards=1)
    batch.shards.update(parts=[f"part-{number}" for number in range(1_000)])

    async def story() -> None:
        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run((await off_loop(batch.shards.get)).pk))
        await until(lambda: DONE["runs"] == len(LINES))
        await asyncio.sleep(1)
        assert (await off_loop(batch.shards.get)).done == 0
        await off_loop(batch_pauses.pause, batch.pk, Pause.ASKED, "Somebody asked for it.", now=NOW)
        await until(lambda: off_loop(batch.shards.filter(done=len(LINES) - 1).exists))
        GATES["late"].set()
        assert await running == "held"

    on_loop(story())


def test_who_lists_shards_reads_no_long_lists() -> None:
    batch = opened()
    batch.shards.update(owner=(owner := uuid4()), state=ShardState.WORKING)
    for listed in (list(seen.shards_of(batch)), shards.held_by(owner)):
        assert [shard.get_deferred_fields() for shard in listed] == [{"ahead", "parts"}] * 4
    assert shards.return_broken_off(shards.held_by(owner)) == 4
