"""The newest rows that failed are found by steps into an index."""

from __future__ import annotations

from uuid import uuid4

import pytest

from invocation.gateways.database import BATCH
from invocation.gateways.presence import own_connection
from invocation.models import Batch, BatchRow
from invocation.selectors import failures
from tests.integration.invocation.records import a_batch
from tests.integration.invocation.rows import NOW

pytestmark = pytest.mark.django_db(transaction=True)


def ended_rows(batch: Batch, count: int, code: str) -> None:
    """Let rows end with an error's code, or without one, and be counted by their shard."""
    facts = {"shard": 0, "outcome": "failed" if code else "completed", "agent": batch.agent, "duration_ms": 1, "at": NOW}
    rows = (BatchRow(batch=batch, row_id=str(uuid4()), run_id=uuid4(), traceparent="", error_code=code, **facts) for _ in range(count))
    BatchRow.objects.bulk_create(rows, batch_size=5_000)
    shard = batch.shards.get(index=0)
    batch.shards.filter(index=0).update(errors={**shard.errors, **({code: count} if code else {})})


def test_the_newest_of_all_causes_come_first() -> None:
    batch, other = a_batch(), a_batch()
    for code in ("declined", "", "provider_down", "declined"):
        ended_rows(batch, 3, code)
    ended_rows(other, 3, "declined")

    failed = list(BatchRow.objects.filter(batch=batch).exclude(error_code="").order_by("-pk"))
    assert failures.newest(batch, most=5) == failed[:5]
    assert failures.newest(batch, most=50) == failed
    assert failures.newest(a_batch(), most=50) == []


def test_they_are_read_by_their_index_however_many_there_are() -> None:
    batch = a_batch()
    ended_rows(batch, 10_000, "declined")
    ended_rows(batch, 10_000, "")
    with own_connection(using=BATCH) as session:
        session.execute("ANALYZE invocation_batchrow")
        plan = session.execute("EXPLAIN ANALYZE " + failures.NEWEST, {"codes": ["declined"], "batch": batch.pk, "most": 50}).fetchall()
    told = "\n".join(line for (line,) in plan)

    assert "row_failed_by_cause" in told
    assert "Seq Scan" not in told
    assert "rows=10000" not in told
