"""Calls that were made are booked, once: also those of a turn or batch that somebody ended meanwhile, or whose booking nobody heard of."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from agents.domain.steps import Step, StepKey
from invocation.domain.jobs import JobState
from invocation.gateways import database, parquet
from invocation.gateways.database import off_loop
from invocation.models import BatchRow, Job, Shard, Turn
from invocation.services import attempts, batches, journals, overdue, shard_runs, shards, turns, waves
from invocation.services.shard_engine import ShardEngine
from quota.models import BatchLedgerEntry, LedgerEntry
from tests.integration.invocation.batches.planned import LINES, Workers, opened
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.finishing import a_line, fence_of
from tests.integration.invocation.hearing import asked
from tests.integration.invocation.rows import NOW, a_job
from tests.integration.invocation.trial import DONE, GATES
from tests.integration.invocation.workers import at_rest, turn_worker

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]
QUESTION = "A sports series?"


def test_the_calls_of_a_cancelled_batchs_last_block_are_booked(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_runs, "LOOK_S", 3600)  # no look finds the cancel before the rows have asked
    batch = opened([{**line, "wait": "cancel", "model": QUESTION} for line in LINES], shards=1)
    shard = batch.shards.get()

    async def story() -> str:
        running = asyncio.create_task(ShardEngine(owner=uuid4()).run(shard.pk))
        await until(lambda: DONE["runs"] > 0)
        await off_loop(waves.go_on, batch.pk, now=NOW)
        await off_loop(batches.cancel, batch.pk, now=NOW)
        assert await off_loop(batches.rescue_shards, now=NOW) == 1  # its process is taken for dead
        await off_loop(batches.cancel_left, now=NOW)
        GATES["cancel"].set()
        return await running

    assert on_loop(story()) == "stale"
    shard.refresh_from_db()
    assert 0 < BatchLedgerEntry.objects.count() <= DONE["runs"] == len(LINES)
    assert shard.cost_usd == sum(BatchLedgerEntry.objects.values_list("cost_usd", flat=True)) > 0
    assert (shard.position, BatchRow.objects.count()) == (0, 0)


def test_the_calls_of_a_block_that_could_not_be_kept_are_booked(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    batch = opened([{**line, "model": QUESTION} for line in LINES[:3]], shards=1)
    workers = Workers(on_loop)

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(parquet, "write_part", full)
    monkeypatch.setattr(database, "AWAY_TRIES", 0)
    assert workers.run(batch.shards.get().pk) == ["failed"]
    assert BatchLedgerEntry.objects.count() == 3
    monkeypatch.undo()
    workers.finish(batch)
    assert BatchLedgerEntry.objects.count() == 6


def test_who_lost_a_shard_to_another_attempt_books_nothing() -> None:
    batch = opened(shards=1)
    claimed = shards.claim(batch.shards.get().pk, owner=uuid4())
    assert claimed is not None
    line = a_line(a_job(JobState.WORKING))
    Shard.objects.filter(pk=claimed.shard.pk).update(attempt=2)
    shards.book_late(claimed.shard, [line])
    Shard.objects.filter(pk=claimed.shard.pk).update(attempt=1, state="queued", owner=None)
    shards.book_late(claimed.shard, [line])

    assert not BatchLedgerEntry.objects.exists()


def test_the_calls_of_a_turn_that_was_ended_from_outside_are_booked(on_loop: OnLoop[Any]) -> None:
    turn = asked({"wait": "gate", "model": QUESTION})

    async def story() -> None:
        async with turn_worker() as engine:
            engine.accept([turn.pk])
            await until(lambda: DONE["runs"] > 0)
            await off_loop(overdue.end_overdue_turns, now=turn.deadline + 2 * overdue.GRACE)
            GATES["gate"].set()
            await at_rest(engine)

    on_loop(story())
    turn.refresh_from_db()
    assert turn.error is not None
    assert (turn.state, turn.error["code"]) == ("failed", "latency_budget_exceeded")
    assert LedgerEntry.objects.get().parent_id == str(turn.pk)


def test_who_lost_a_turn_to_another_attempt_books_nothing() -> None:
    turn = asked({})
    line = a_line(a_job(JobState.WORKING))
    turns.book_late(turn, [line])
    Turn.objects.filter(pk=turn.pk).update(state="failed", attempt=7, finished_at=NOW, last_event={})
    turns.book_late(turn, [line])

    assert not LedgerEntry.objects.exists()


def test_calls_whose_booking_nobody_heard_of_are_charged_once() -> None:
    job = a_job(JobState.WORKING)
    lines = [a_line(job)]
    journals.record_step(fence_of(job), StepKey("model", 0), Step(fingerprint="f", result={}), lines)
    attempts.hand_back(fence_of(job), lines)

    assert LedgerEntry.objects.count() == 1
    assert Job.objects.get(pk=job.pk).spent_usd == Decimal("0.001")
