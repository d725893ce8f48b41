"""A row that ends its process is found and left out; a shard that loses its workers without a row ends its batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from invocation.domain.batches import Row
from invocation.domain.losses import ANY, LOSSES_OF_A_ROW
from invocation.models import Batch, Process, Shard
from invocation.services import batches, shard_rows, shards
from invocation.services.caution import Caution
from invocation.services.shard_engine import ShardEngine
from invocation.services.shards import Checkpoint
from tests.integration.invocation import trial
from tests.integration.invocation.batches.planned import LINES, Workers, errors, failed_rows, opened, results
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import NOW, a_process
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
ROW = Row(id="row-000", input={}, line=1)
MANY = 12
"""More deaths than it may take."""


class Killed(BaseException):
    """The process would be gone here: nothing that catches errors catches this."""


def kill(kind: str) -> None:
    if kind == "kill":
        raise Killed


def deaths(batch: Batch, workers: Workers) -> int:
    """Run the one shard in process after process until it is done or its batch has ended; return how many of them died."""
    for count in range(MANY):
        try:
            workers.run(batch.shards.get().pk)
        except Killed:
            assert batches.rescue_shards(now=datetime.now(UTC)) == 1
        else:
            return count
    raise AssertionError("it goes on for ever")


@pytest.mark.parametrize("at", [0, 21, 39])
def test_a_row_that_ends_its_process_is_an_error_and_the_others_run(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, settings: Any, at: int
) -> None:
    settings.ROWS_OF_A_SHARD = 8
    monkeypatch.setattr(trial, "fail", kill)
    lines = [{**line, "fails": "kill"} if place == at else line for place, line in enumerate(LINES[:40])]
    batch = opened(lines, shards=1)

    assert deaths(batch, workers) <= LOSSES_OF_A_ROW + 1
    assert batch.shards.values_list("losses", "failed_rows").get() == (0, 1)
    workers.finish(batch)
    assert errors(batch) == Counter([LINES[at]["row_id"]])
    assert [(row["error_code"], row["error_cause"]) for row in failed_rows(batch)] == [("lost_worker", "lost_worker")]
    assert results(batch) == Counter(line["row_id"] for place, line in enumerate(LINES[:40]) if place != at)


def test_each_loss_waits_longer_and_one_more_than_a_row_may_have_ends_the_batch() -> None:
    batch = opened(shards=2)
    shard, moment = batch.shards.get(index=0), NOW
    found = []
    for _ in range(LOSSES_OF_A_ROW):
        assert shards.claim(shard.pk, owner=uuid4())
        assert batches.rescue_shards(now=moment) == 1
        shard.refresh_from_db()
        found.append((shard.state, shard.losses, shard.due_at and shard.due_at - moment))
    assert found == [("queued", count + 1, timedelta(seconds=2**count)) for count in range(LOSSES_OF_A_ROW)]

    assert shards.claim(shard.pk, owner=uuid4())
    batches.rescue_shards(now=moment)
    batch.refresh_from_db()
    assert (batch.state, (batch.fault or {})["code"]) == ("failed", "lost_worker")
    assert "shard 0" in (batch.fault or {})["sentence"]
    assert set(batch.shards.values_list("state", flat=True)) == {"cancelled"}


def test_a_process_that_dies_as_it_reads_is_not_claimed_for_ever(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(shard_rows.ShardRows, "read", dies)
    batch = opened(shards=1)

    assert deaths(batch, workers) == LOSSES_OF_A_ROW + 1
    batch.refresh_from_db()
    assert batch.state == "failed"


def test_whoever_gives_a_shard_back_loses_nothing_and_finished_rows_make_good_what_was_lost() -> None:
    shard = opened(shards=1).shards.get()
    Shard.objects.filter(pk=shard.pk).update(losses=2)
    for give_back in (shards.hand_back, lambda held: shards.return_broken_off([held])):
        claimed = shards.claim(shard.pk, owner=uuid4())
        assert claimed
        shards.checkpoint(claimed.shard, Checkpoint(position=0, errors={}))
        give_back(claimed.shard)
        assert Shard.objects.get(pk=shard.pk).losses == 2

    claimed = shards.claim(shard.pk, owner=uuid4())
    assert claimed
    shards.checkpoint(claimed.shard, Checkpoint(part="one.parquet", position=1, errors={}))
    assert Shard.objects.get(pk=shard.pk).losses == 0


@pytest.mark.parametrize(
    ("losses", "kept", "left"), [(0, 1, 0), (1, 63, 1), (1, 64, 0), (2, 15, 2), (2, 16, 0), (3, 0, 3), (3, 1, 2), (4, 1, 2), (4, 16, 0)]
)
def test_losses_are_held_against_a_shard_until_enough_rows_are_kept(losses: int, kept: int, left: int) -> None:
    caution = Caution(losses)
    for place in range(kept + 1):
        caution.begin(place, ROW)
    told = caution.losses_behind(range(kept)) if kept else losses
    caution.kept(range(kept))

    assert (told, caution.losses) == (left, left)
    assert (caution.at_once is None) == (left == 0)


def test_care_lasts_as_long_as_a_row_that_began_with_it() -> None:
    caution = Caution(1)
    for place in range(200):
        caution.begin(place, ROW)
    caution.kept(range(1, 200))

    assert caution.losses == 1
    caution.kept([0])
    assert caution.losses == 0


def test_what_is_kept_of_a_careful_shard_says_that_care_goes_on(on_loop: OnLoop[Any]) -> None:
    batch = opened([{**line, "wait": "last"} if place == 10 else line for place, line in enumerate(LINES[:11])], shards=1)
    batch.shards.update(losses=3)

    async def story() -> tuple[int, int]:
        running = asyncio.create_task(ShardEngine(owner=uuid4()).run((await batch.shards.aget()).pk))
        await until(lambda: DONE["runs"] == 11)
        found = await batch.shards.aget()
        GATES["last"].set()
        await running
        return found.position, found.losses

    assert on_loop(story()) == (10, 2)


def test_behind_a_first_loss_eight_rows_are_in_flight_until_care_is_over(on_loop: OnLoop[Any]) -> None:
    batch = opened([{**line, "wait": "first" if place < 64 else "rest"} for place, line in enumerate(LINES)], shards=1)
    batch.shards.update(losses=1)

    async def story() -> list[int]:
        running, found = asyncio.create_task(ShardEngine(owner=uuid4()).run((await batch.shards.aget()).pk)), []
        await until(lambda: DONE["runs"] >= 8)
        await asyncio.sleep(0.2)
        found.append(DONE["runs"])
        GATES["first"].set()
        await until(lambda: DONE["runs"] > 64 + 8)
        GATES["rest"].set()
        await running
        return found

    assert on_loop(story()) == [8]


def test_behind_a_second_loss_one_row_is_in_flight_and_each_is_kept(on_loop: OnLoop[Any]) -> None:
    names = [f"gate-{number}" for number in range(6)]
    batch = opened([{**line, "wait": name} for line, name in zip(LINES, names, strict=False)], shards=1)
    batch.shards.update(losses=2)

    async def story() -> list[tuple[int, int]]:
        running, found = asyncio.create_task(ShardEngine(owner=uuid4()).run((await batch.shards.aget()).pk)), []
        for count, name in enumerate(names, 1):
            await until(lambda count=count: DONE["runs"] >= count)  # type: ignore[misc]
            await asyncio.sleep(0.05)
            found.append((DONE["runs"], (await batch.shards.aget()).position))
            GATES[name].set()
        await running
        return found

    assert on_loop(story()) == [(count, count - 1) for count in range(1, 7)]


@pytest.mark.parametrize(("careful", "claimed"), [(0, [0, 1, 2]), (1, [0, 1]), (2, [0])])
def test_what_lost_two_workers_runs_beside_no_other_that_lost_one(on_loop: OnLoop[Any], careful: int, claimed: list[int]) -> None:
    batch = opened([{**line, "wait": "beside"} for line in LINES[:8]], shards=4)
    for index, losses in enumerate((careful, 0, 1, 2)):
        batch.shards.filter(index=index).update(losses=losses)
    first, *rest = list(batch.shards.order_by("index"))

    async def story(other: Shard) -> bool:
        GATES.clear()
        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run(first.pk))
        await until(lambda: any(engine._running.values()))
        beside = asyncio.create_task(engine.run(other.pk))
        await until(lambda: beside.done() or len([work for work in engine._running.values() if work]) == 2)
        GATES["beside"].set()
        await running
        return await beside != "taken"

    found = []
    for losses, other in enumerate(rest):
        batch.shards.filter(pk=first.pk).update(losses=careful, state="queued", owner=None, finished_at=None, position=0, done=0)
        if on_loop(story(other)):
            found.append(losses)
    assert found == claimed


def test_two_that_lost_two_workers_and_are_claimed_at_once_do_not_run_beside_each_other(on_loop: OnLoop[Any]) -> None:
    batch = opened([{**line, "wait": "both"} for line in LINES[:8]], shards=2)
    batch.shards.update(losses=2)

    async def story() -> list[str]:
        engine = ShardEngine(owner=uuid4())
        both = [asyncio.create_task(engine.run(shard.pk)) async for shard in batch.shards.all()]
        await until(lambda: any(running.done() for running in both))
        GATES["both"].set()
        return sorted([await running for running in both])

    assert on_loop(story()) == ["completed", "taken"]
    assert sorted(batch.shards.values_list("state", "losses")) == [("completed", 0), ("queued", 2)]


def test_a_shard_with_more_losses_than_are_allowed_is_not_claimed() -> None:
    shard = opened(shards=1).shards.get()
    Shard.objects.filter(pk=shard.pk).update(losses=1)

    assert shards.claim(shard.pk, owner=uuid4(), most_losses=0) is None
    assert shards.claim(shard.pk, owner=uuid4(), most_losses=ANY) is not None


def test_a_drain_that_is_cut_short_gives_its_shards_back_and_is_no_loss(on_loop: OnLoop[Any]) -> None:
    batch = opened([{**line, "wait": "long"} for line in LINES[:4]], shards=1)

    async def story() -> Shard:
        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run((await batch.shards.aget()).pk))
        await until(lambda: DONE["runs"] > 0)
        await engine.drain(timedelta(seconds=0.1))
        found = await batch.shards.aget()
        GATES["long"].set()
        assert await running == "stale"
        return found

    shard = on_loop(story())
    assert (shard.state, shard.owner, shard.losses) == ("queued", None, 0)


@pytest.mark.parametrize(("ended", "losses"), [(datetime(2020, 1, 1, tzinfo=UTC), 0), (None, 1)])
def test_a_lease_that_ended_while_the_database_was_down_is_no_loss(ended: datetime | None, losses: int) -> None:
    now, shard, process = datetime.now(UTC), opened(shards=1).shards.get(), a_process("p3")
    assert shards.claim(shard.pk, owner=process.pk)
    Process.objects.update(lease_until=ended or now - timedelta(milliseconds=1))

    assert batches.rescue_shards(now=now) == 1
    shard.refresh_from_db()
    assert (shard.state, shard.owner, shard.losses, shard.due_at is None) == ("queued", None, losses, not losses)
