"""Whoever ends a batch meets its shards at work: each waits for the other's row once, and never in a circle."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import transaction

from config.supervisor.ending import until
from invocation.domain.batches import BatchState
from invocation.models import Batch, BatchRow, Process, Shard
from invocation.services import batch_pauses, batches, shards
from invocation.services.shards import Checkpoint, ShardClaimed
from tests.integration.config.serving import SOON
from tests.integration.invocation.batches.planned import opened
from tests.integration.invocation.crossing import beside, is_waited
from tests.integration.invocation.rows import NOW

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def batch() -> Batch:
    made = opened(shards=2)
    Batch.objects.filter(pk=made.pk).update(state=BatchState.RUNNING)
    return made


def claimed(batch: Batch, *, index: int = 0) -> ShardClaimed:
    found = shards.claim(batch.shards.get(index=index).pk, owner=uuid4())
    assert found is not None
    return found


def a_row(batch: Batch) -> BatchRow:
    facts = {"row_id": "row-000", "run_id": uuid4(), "shard": 0, "outcome": "ok", "agent": batch.agent, "duration_ms": 1, "at": NOW}
    return BatchRow(batch=batch, traceparent="", **facts)


def test_whoever_cancels_a_batch_waits_for_no_shard_at_work_whose_checkpoint_is_kept(batch: Batch) -> None:
    shard = claimed(batch).shard
    block = Checkpoint(part="part-0", position=1, errors={"declined": 1}, failed=[a_row(batch)])

    with ThreadPoolExecutor(1) as thread, transaction.atomic():
        Shard.objects.select_for_update(no_key=True).get(pk=shard.pk)
        thread.submit(beside(lambda: batches.cancel(batch.pk, now=NOW))).result(SOON.total_seconds())
        shards.checkpoint(shard, block)

    assert BatchRow.objects.filter(batch=batch).count() == 1
    assert list(batch.shards.order_by("index").values_list("state", "position")) == [("working", 1), ("cancelled", 0)]


def test_a_shard_that_breaks_waits_for_whoever_cancels_its_batch_and_holds_nothing(batch: Batch) -> None:
    shard, owner = claimed(batch).shard, uuid4()
    Shard.objects.filter(pk=shard.pk).update(failures=shards.FAILURES_OF_A_BATCH - 1, owner=owner)

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            Batch.objects.select_for_update(no_key=True).get(pk=batch.pk)
            charged = thread.submit(beside(lambda: shards.charge(shard.pk, owner=owner, sentence="The disk is full.")))
            assert until(is_waited, patience=SOON)
            batches.cancel(batch.pk, now=NOW)
        charged.result()
    batches.cancel_left(now=NOW)

    batch.refresh_from_db()
    assert (batch.state, batch.fault, set(batch.shards.values_list("state", flat=True))) == ("cancelled", None, {"cancelled"})


@pytest.mark.parametrize("act", ["cancel", "rescue"])
def test_whoever_waits_for_a_shard_holds_none_behind_it(batch: Batch, act: str) -> None:
    first, second = (claimed(batch, index=index).shard for index in range(2))
    if act == "cancel":
        batch.shards.update(state="queued", owner=None)
    # The row that was written last lies last in the table: without an order it would be taken second.
    Shard.objects.filter(pk=first.pk).update(failures=1)
    assert not Process.objects.exists()
    acts: dict[str, Callable[[], object]] = {
        "cancel": lambda: batches.cancel(batch.pk, now=NOW),
        "rescue": lambda: batches.rescue_shards(now=NOW),
    }

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            Shard.objects.select_for_update(no_key=True).get(pk=first.pk)
            ended = thread.submit(beside(acts[act]))
            assert until(is_waited, patience=SOON)
            assert Shard.objects.select_for_update(no_key=True, nowait=True).get(pk=second.pk).state in {"queued", "working"}
        ended.result()

    assert set(batch.shards.values_list("state", flat=True)) == {"cancelled" if act == "cancel" else "queued"}


def test_whoever_lets_failed_rows_run_again_waits_for_a_shard_and_holds_none_behind_it(batch: Batch) -> None:
    batch.shards.update(errors={"declined": 1}, failed_rows=1)
    first, second = batch.shards.order_by("pk")
    # By its index, and by where it lies in the table, it would be taken second.
    Shard.objects.filter(pk=first.pk).update(index=2)
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.PAUSED, pause={"code": "asked"})

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            Shard.objects.select_for_update(no_key=True).get(pk=first.pk)
            retried = thread.submit(beside(lambda: batch_pauses.retry_failed(batch.pk, now=NOW)))
            assert until(is_waited, patience=SOON)
            assert Shard.objects.select_for_update(no_key=True, nowait=True).get(pk=second.pk).round == 0
        retried.result()

    assert set(batch.shards.values_list("round", flat=True)) == {1}
