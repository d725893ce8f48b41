"""What is told of a batch: counts, the rate of the last minute, what it will cost and when it is done, and what fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from invocation.domain import paces
from invocation.models import Batch, BatchRow, Shard
from invocation.selectors.progress import progress
from tests.integration.invocation.batches.planned import LINES, Workers, opened
from tests.integration.invocation.records import a_batch
from tests.integration.invocation.rows import NOW

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
MINUTE = timedelta(minutes=1)


def failed_row(batch: Batch, row_id: str, code: str, *, at: datetime = NOW) -> BatchRow:
    facts = {"row_id": row_id, "run_id": uuid4(), "shard": 0, "outcome": "failed", "agent": batch.agent, "duration_ms": 1, "at": at}
    return BatchRow.objects.create(batch=batch, traceparent="", error_code=code, **facts)


def paced(batch: Batch, *, rows: int, at: datetime = NOW) -> None:
    batch.shards.filter(index=0).update(pace=paces.counted([], rows, at=at))


def test_it_says_how_far_how_fast_and_for_how_much() -> None:
    batch = a_batch(shards=4, started_at=NOW - timedelta(hours=1))
    batch.shards.filter(index=0).update(cost_usd=Decimal("0.25"))
    paced(batch, rows=120, at=NOW - MINUTE / 2)

    told = progress(batch, now=NOW)

    assert (told.rows_done, told.rows_failed, told.rows_left) == (10, 1, 30)
    assert told.shards == {"queued": 3, "working": 0, "completed": 1, "cancelled": 0}
    assert (told.rate, told.eta_s, told.finish_at) == (2.0, 15.0, NOW + timedelta(seconds=15))
    assert (told.cost_usd, told.cost_predicted_usd) == (Decimal("0.25"), Decimal("1.00"))
    assert (told.is_open, told.opens_at, told.closes_at, told.warnings) == (True, None, None, [])


def test_a_rate_is_not_what_it_was_hours_ago() -> None:
    """What was done since the start says little: the last minute does."""
    batch = a_batch(started_at=NOW - timedelta(hours=5))
    paced(batch, rows=600, at=NOW)

    assert progress(batch, now=NOW).rate == 10.0


def test_before_the_first_row_nobody_knows() -> None:
    batch = a_batch()
    batch.shards.update(done=0, position=0, failed_rows=0)
    told = progress(batch, now=NOW)

    assert (told.rate, told.eta_s, told.finish_at, told.cost_predicted_usd) == (None, None, None, None)


def test_a_batch_that_ended_has_no_more_to_predict() -> None:
    batch = a_batch()
    paced(batch, rows=60)
    Batch.objects.filter(pk=batch.pk).update(state="cancelled", finished_at=NOW, finish_by=NOW - MINUTE)
    batch.refresh_from_db()
    told = progress(batch, now=NOW)

    assert (told.rows_left, told.rate, told.eta_s, told.finish_at, told.warnings) == (0, None, None, None, [])
    assert told.cost_predicted_usd == told.cost_usd


def test_it_is_predicted_through_the_windows_ahead_and_warns() -> None:
    batch = a_batch(shards=4, started_at=NOW - timedelta(hours=1))
    batch.window = {"start": f"{NOW - MINUTE:%H:%M}", "end": f"{NOW + MINUTE:%H:%M}", "zone": "UTC"}
    batch.finish_by = NOW + timedelta(hours=2)
    paced(batch, rows=15)

    told = progress(batch, now=NOW)

    assert (told.eta_s, told.finish_at) == (120.0, NOW + timedelta(days=1))
    assert [str(each.code) for each in told.warnings] == ["window", "finish_by"]
    assert (told.is_open, told.closes_at) == (True, NOW + MINUTE)
    assert progress(batch, now=NOW + timedelta(hours=1)).opens_at == NOW + timedelta(days=1) - MINUTE


def test_errors_are_told_by_cause_with_the_newest_row() -> None:
    batch = a_batch(shards=2)
    batch.shards.filter(index=0).update(errors={"provider_down": 2, "unknown_title": 1})
    batch.shards.filter(index=1).update(errors={"unknown_title": 2})
    for row_id, code in (("a", "unknown_title"), ("b", "provider_down"), ("c", "unknown_title"), ("d", "")):
        failed_row(batch, row_id, code)
    failed_row(a_batch(), "e", "unknown_title")

    assert [(each.code, each.count, each.row_id) for each in progress(batch, now=NOW).causes] == [
        ("unknown_title", 3, "c"),
        ("provider_down", 2, "b"),
    ]


def test_failed_rows_that_run_again_are_left_to_do() -> None:
    batch = a_batch(shards=2)
    batch.shards.update(done=10, position=10, state="completed", finished_at=NOW)
    assert progress(batch, now=NOW).rows_left == 0

    batch.shards.filter(index=0).update(round=1, state="queued", failed_rows=3)
    assert progress(batch, now=NOW).rows_left == 3


def test_what_it_costs_does_not_go_with_the_rows() -> None:
    """Two queries: one over at most 256 shards, and one step into an index for each of the ten most frequent causes."""
    batch = a_batch(shards=2)
    batch.shards.update(errors={f"code_{number}": 1 for number in range(40)})
    rows = [
        BatchRow(
            batch=batch,
            row_id=str(each),
            run_id=uuid4(),
            shard=0,
            outcome="failed",
            error_code=f"code_{each % 40}",
            agent="a@1",
            duration_ms=1,
            at=NOW,
        )
        for each in range(4_000)
    ]
    BatchRow.objects.bulk_create(rows)

    with CaptureQueriesContext(connection) as queries:
        told = progress(batch, now=NOW)

    assert (len(queries), len(told.causes)) == (2, 10)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE invocation_batchrow")
        cursor.execute("EXPLAIN (ANALYZE, FORMAT TEXT) " + queries[1]["sql"])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "row_failed_by_cause" in plan
    assert "Seq Scan" not in plan


def test_a_shard_keeps_what_it_did_and_how_fast(workers: Workers) -> None:
    batch = workers.finish(opened([*LINES, {"row_id": "bad", "text": "x", "fails": "unknown"}], shards=3))
    found = list(batch.shards.order_by("index"))

    assert [shard.done for shard in found] == [shard.rows for shard in found]
    assert sum(rows for shard in found for _, rows in shard.pace) == batch.rows
    assert batch.running_since == batch.started_at


def test_the_database_counts_no_more_than_there_are() -> None:
    batch = a_batch()
    with pytest.raises(IntegrityError, match="shard_does_no_more_than_its_rows"):
        Shard.objects.filter(batch=batch).update(done=11)


def test_a_pace_is_taken_at_the_checkpoint(workers: Workers) -> None:
    before = datetime.now(UTC)
    batch = workers.finish(opened(LINES, shards=1))
    [pace] = batch.shards.values_list("pace", flat=True)

    assert all(before.timestamp() - paces.BUCKET_S <= begin <= datetime.now(UTC).timestamp() for begin, _ in pace)


def test_nobody_knows_when_a_batch_is_done_that_waits_for_somebody() -> None:
    batch = a_batch(started_at=NOW - timedelta(hours=1))
    paced(batch, rows=120)
    pause = {"code": "asked", "sentence": "Not now.", "at": NOW.isoformat()}
    Batch.objects.filter(pk=batch.pk).update(state="paused", pause=pause, finish_by=NOW + timedelta(seconds=1))
    batch.refresh_from_db()
    told = progress(batch, now=NOW)
    assert (told.eta_s, told.finish_at, told.warnings) == (15.0, None, [])

    batch.pause = {**pause, "code": "window"}
    assert progress(batch, now=NOW).finish_at == NOW + timedelta(seconds=15)
