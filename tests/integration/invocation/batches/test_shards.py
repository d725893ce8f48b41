"""A shard is claimed once, fenced by its attempt, and goes on from its checkpoint whoever died or drained."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import chain, repeat
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connections, transaction

from invocation.domain.budgets import SHARERS, Sharers
from invocation.domain.errors import StaleMove
from invocation.gateways.database import BATCH
from invocation.models import Batch, BatchRow, Shard
from invocation.services import batches, shard_engine, shards
from invocation.services.rows_in_flight import RowsInFlight
from invocation.services.shard_engine import ShardEngine
from invocation.services.shards import Checkpoint
from quota.domain.budgets import Spending
from quota.domain.ledger import ParentKind
from tests.integration.invocation.batches.planned import LINES, Workers, opened, results
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import LEASE, NOW, TRACE, a_process
from tests.integration.invocation.trial import DONE, GATES
from tests.integration.quota.lines import a_line

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
FAIR = SHARERS[-2]


def block_of(shard: Shard, *, name: str = "shard=00000/late.parquet") -> Checkpoint:
    row = BatchRow(
        batch_id=shard.batch_id,
        row_id="late",
        run_id=uuid4(),
        shard=0,
        outcome="failed",
        error_code="provider_unavailable",
        agent="trial@1",
        traceparent=TRACE,
        duration_ms=1,
        at=NOW,
    )
    return Checkpoint(part=name, position=1, errors={"provider_unavailable": 1}, failed=[row])


@pytest.mark.parametrize("act", ["checkpoint", "complete", "hand_back", "cancel"])
@pytest.mark.parametrize("wrong", ["an earlier attempt", "another process", "a cancelled shard"])
def test_who_does_not_hold_a_shard_changes_nothing(act: str, wrong: str) -> None:
    batch = opened(shards=1)
    claimed = shards.claim(batch.shards.get().pk, owner=uuid4())
    assert claimed is not None
    stale = claimed.shard
    if wrong == "an earlier attempt":
        Shard.objects.filter(pk=stale.pk).update(attempt=stale.attempt + 1)
    elif wrong == "another process":
        Shard.objects.filter(pk=stale.pk).update(owner=uuid4())
    else:
        Shard.objects.filter(pk=stale.pk).update(state="cancelled", owner=None, finished_at=NOW)
    before = Shard.objects.values().get(pk=stale.pk)
    with pytest.raises(StaleMove):
        shards.checkpoint(stale, block_of(stale)) if act == "checkpoint" else getattr(shards, act)(stale)

    assert Shard.objects.values().get(pk=stale.pk) == before
    assert not BatchRow.objects.exists()


def test_the_database_lets_a_row_finish_once() -> None:
    batch = opened(shards=2)
    first, second = (shards.claim(shard.pk, owner=uuid4()) for shard in batch.shards.order_by("index"))
    assert first is not None
    assert second is not None
    shards.checkpoint(first.shard, block_of(first.shard))
    with pytest.raises(IntegrityError, match="row_is_finished_once"), transaction.atomic():
        shards.checkpoint(second.shard, block_of(second.shard))

    assert Shard.objects.get(pk=second.shard.pk).position == 0


def test_a_checkpoint_that_nobody_heard_was_committed_counts_once_when_it_is_made_again() -> None:
    claimed = shards.claim(opened(shards=1).shards.get().pk, owner=uuid4())
    assert claimed is not None
    lines = tuple(a_line(parent_kind=ParentKind.BATCH, parent_id=str(claimed.batch.pk)) for _ in range(2))
    called, kept = Checkpoint(position=0, errors={}, lines=lines[:1]), replace(block_of(claimed.shard), lines=lines)
    for block in (called, called, kept, kept):
        shards.checkpoint(claimed.shard, block)

    shard = Shard.objects.get(pk=claimed.shard.pk)
    assert (shard.calls, shard.parts, shard.failed_rows) == (2, [kept.part], 1)
    assert shard.cost_usd == sum(line.cost_usd for line in lines)
    assert BatchRow.objects.count() == 1


def test_a_shard_is_claimed_once(workers: Workers) -> None:
    shard = opened(shards=1).shards.get()

    assert shards.claim(shard.pk, owner=uuid4()) is not None
    assert shards.claim(shard.pk, owner=uuid4()) is None
    assert workers.run(shard.pk) == ["taken"]


def test_who_was_frozen_behind_its_claim_holds_no_attempt_of_another() -> None:
    """Whatever is read of the shard once the claim is committed may be another's by then, and would pass every fence."""
    shard, connection = opened(shards=1).shards.get(), connections[BATCH]
    taken: list[int] = []

    def frozen(execute: Any, sql: str, *rest: Any) -> Any:
        if not taken and not connection.in_atomic_block and "invocation_shard" in sql:
            taken.append(0)  # what follows comes by here as well
            taken[:] = [1] * Shard.objects.filter(pk=shard.pk, attempt=1).update(attempt=2, owner=uuid4())
        return execute(sql, *rest)

    with connection.execute_wrapper(frozen):
        claimed = shards.claim(shard.pk, owner=(ours := uuid4()))
    assert claimed
    assert (claimed.shard.attempt, claimed.shard.owner) == (1, ours)


def test_a_drain_stops_a_shard_at_its_next_checkpoint(on_loop: OnLoop[Any], workers: Workers) -> None:
    batch = opened([{**line, "wait": "drain"} for line in LINES], shards=1)
    shard = batch.shards.get()

    async def story() -> str:
        import asyncio

        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run(shard.pk))
        await until(lambda: DONE["runs"] > 0)
        draining = asyncio.create_task(engine.drain(timedelta(seconds=20)))
        await until(lambda: engine._draining)
        GATES["drain"].set()
        await draining
        return await running

    assert on_loop(story()) == "handed_back"
    shard.refresh_from_db()
    assert (shard.state, shard.owner) == ("queued", None)
    assert 0 < shard.position == DONE["runs"]
    workers.finish(batch)
    assert results(batch) == Counter(line["row_id"] for line in LINES)
    assert DONE["runs"] == len(LINES)


def test_a_shard_that_broke_off_is_given_back_from_its_checkpoint() -> None:
    batch = opened(shards=2)
    owner = uuid4()
    broken, running = (shards.claim(shard.pk, owner=owner) for shard in batch.shards.order_by("index"))
    assert broken is not None
    assert running is not None
    left = [shard for shard in shards.held_by(owner) if shard.pk != running.shard.pk]

    assert shards.return_broken_off(left) == 1
    assert shards.return_broken_off(left) == 0
    assert sorted(batch.shards.values_list("state", flat=True)) == ["queued", "working"]


def test_shards_of_dead_processes_are_queued_again_and_others_are_not() -> None:
    batch = opened(shards=2)
    alive = a_process("p3")
    dead, held = batch.shards.order_by("index")
    shards.claim(dead.pk, owner=uuid4())
    shards.claim(held.pk, owner=alive.pk)

    assert batches.rescue_shards(now=NOW) == 1
    assert list(batch.shards.order_by("index").values_list("state", flat=True)) == ["queued", "working"]
    assert batches.rescue_shards(now=NOW + 2 * LEASE) == 1


def test_whoever_comes_first_leaves_as_much_for_each_of_the_others_and_all_hold_no_more_than_the_ceiling() -> None:
    batch = opened(shards=4, cost_usd=Decimal("1.00"), tokens=9, model_calls=5)
    parts = []
    for shard in batch.shards.order_by("index"):
        claimed = shards.claim(shard.pk, owner=uuid4())
        assert claimed is not None
        parts.append(shards.reserve(claimed.shard, sharers=FAIR))

    assert [part.usd for part in parts] == 4 * [Decimal("0.25")]
    assert ([part.tokens for part in parts], [part.calls for part in parts]) == ([2, 2, 2, 3], [1, 1, 1, 2])
    assert sum(batch.shards.values_list("reserved_usd", flat=True), Decimal(0)) == batch.cost_cap_usd


def test_what_is_spent_cannot_be_set_aside() -> None:
    batch = opened(shards=2, cost_usd=Decimal("1.00"))
    batch.shards.filter(index=1).update(cost_usd=Decimal("0.75"))
    claimed = shards.claim(batch.shards.get(index=0).pk, owner=uuid4())

    assert claimed is not None
    assert shards.reserve(claimed.shard, sharers=FAIR).usd == Decimal("0.125")


@pytest.mark.parametrize("gone", ["rescued", "broke off"])
def test_what_a_lost_attempt_had_set_aside_is_not_set_aside_again(gone: str) -> None:
    batch = opened(shards=1, cost_usd=Decimal("1.00"), tokens=640, model_calls=64)
    owner = uuid4()
    lost = shards.claim(batch.shards.get().pk, owner=owner)
    assert lost is not None
    assert shards.reserve(lost.shard) == Spending(Decimal("0.015625"), 10, 1)
    if gone == "rescued":
        assert batches.rescue_shards(now=NOW) == 1
    else:
        assert shards.return_broken_off(shards.held_by(owner)) == 1
    assert batch.shards.values_list("lost_usd", "lost_tokens", "lost_calls", "reserved_calls").get() == (Decimal("0.015625"), 10, 1, 0)
    successor = shards.claim(batch.shards.get().pk, owner=uuid4())
    assert successor is not None
    with pytest.raises(StaleMove):
        shards.reserve(lost.shard)

    assert shards.reserve(successor.shard, sharers=SHARERS[-1]) == Spending(Decimal("0.984375"), 630, 63)


@pytest.mark.parametrize(("sharers", "part"), list(zip(SHARERS, ["0.015625", "0.0625", "0.25", "0.5", "1"], strict=True)))
def test_an_attempt_sets_little_aside_at_first_and_up_to_all_where_a_call_does_not_fit(sharers: Sharers, part: str) -> None:
    batch = opened(shards=2, cost_usd=Decimal("1.00"))
    claimed = shards.claim(batch.shards.get(index=0).pk, owner=uuid4())
    assert claimed is not None

    assert shards.reserve(claimed.shard, sharers=sharers).usd == Decimal(part)


def test_what_goes_back_to_its_queue_keeps_nothing_set_aside() -> None:
    batch = opened(shards=1, cost_usd=Decimal("1.00"))
    claimed = shards.claim(batch.shards.get().pk, owner=uuid4())
    assert claimed is not None
    shards.reserve(claimed.shard)
    shards.hand_back(claimed.shard)

    assert batch.shards.values_list("reserved_usd", "reserved_tokens", "reserved_calls").get() == (Decimal(0), 0, 0)


def test_a_shard_whose_share_of_rows_shrinks_while_its_lanes_open_leaves_no_row_out(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others join, and all of its lanes find at once that there are too many of them."""
    shares = chain([16] * 17, repeat(1))
    monkeypatch.setattr(RowsInFlight, "share", lambda *_: next(shares))
    batch = opened(LINES[:20], shards=1)

    assert workers.run(batch.shards.get().pk) == ["completed"]
    assert batch.shards.get().position == 20


def test_a_shard_with_rows_left_is_not_completed(workers: Workers) -> None:
    batch = opened(LINES[:20], shards=1)
    Batch.objects.filter(pk=batch.pk).update(state="running", started_at=NOW)
    claimed = shards.claim(batch.shards.get().pk, owner=uuid4())
    assert claimed is not None
    shards.complete(claimed.shard)

    assert batch.shards.get().state == "queued"


def test_a_shard_whose_version_of_the_agent_is_not_known_here_is_for_another_process_and_charged_to_nobody(workers: Workers) -> None:
    batch = opened(LINES[:20], shards=1)
    Batch.objects.filter(pk=batch.pk).update(agent="trial@99", state="running", started_at=NOW)

    assert workers.run(batch.shards.get().pk) == ["taken"]
    shard = batch.shards.get()
    assert (shard.state, shard.owner, shard.failures, shard.losses) == ("queued", None, 0, 0)
    assert shard.due_at


def test_a_shard_whose_agent_nobody_knows_for_long_breaks_and_somebody_looks(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_engine, "LONGEST_UNKNOWN_S", 0.0)
    batch = opened(LINES[:20], shards=1)
    Batch.objects.filter(pk=batch.pk).update(agent="trial@99", state="running", started_at=NOW)
    shard = batch.shards.get()

    assert on_loop(ShardEngine(owner=uuid4()).run(shard.pk)) == "failed"
    shard.refresh_from_db()
    assert (shard.state, shard.failures) == ("queued", 1)
