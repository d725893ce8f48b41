"""Too many failed rows pause a batch: out of all that came to their end, in whichever round, since it last went on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from invocation.domain.batches import Pause
from invocation.domain.places import Ranges
from invocation.models import Batch, BatchRow, Shard
from invocation.services import batch_control, batch_pauses, shards
from invocation.services.shards import Checkpoint
from tests.integration.invocation.batches.planned import LINES, Workers, errors, opened
from tests.integration.invocation.rows import NOW, TRACE

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
FAILING = [{"row_id": f"bad-{number}", "fails": "decline"} for number in range(6)]


def tolerant(lines: list[Any] | None = None, *, of: int = 1, **tolerance: Any) -> Batch:
    """Open a batch that runs already, and tolerates so many failures."""
    batch = opened(lines, shards=of)
    Batch.objects.filter(pk=batch.pk).update(failures=tolerance, state="running", started_at=NOW)
    batch.refresh_from_db()
    return batch


def claimed(batch: Batch, index: int = 0) -> Shard:
    found = shards.claim(batch.shards.get(index=index).pk, owner=uuid4())
    assert found is not None
    return found.shard


def rows(shard: Shard, ids: Sequence[str], *, code: str = "declined") -> list[BatchRow]:
    facts = {"run_id": uuid4(), "shard": shard.index, "agent": "trial@1", "traceparent": TRACE, "duration_ms": 1, "at": NOW}
    return [BatchRow(batch_id=shard.batch_id, row_id=each, outcome="failed", error_code=code, **facts) for each in ids]


def keep(
    shard: Shard, *, position: int, ended: int, ahead: Ranges = (), failed: Sequence[BatchRow] = (), redone: Sequence[BatchRow] = ()
) -> bool:
    """Make a checkpoint, and say whether it paused the batch."""
    found = {"declined": len(failed)} if failed else {}
    block = Checkpoint(part=f"part-{uuid4()}", position=position, ahead=ahead, ended=ended, errors=found, failed=failed, redone=redone)
    shards.checkpoint(shard, block)
    return batch_pauses.pause_if_failing(shard.batch_id, now=NOW)


def test_rows_that_ended_ahead_of_an_unfinished_one_count() -> None:
    """The first row of the second shard takes long: what ended behind it has not failed more often for that."""
    batch = tolerant(of=2, share=0.2, least=10)
    first, second = claimed(batch, 0), claimed(batch, 1)

    assert not keep(first, position=20, ended=20)
    assert not keep(second, position=0, ahead=[(1, 71)], ended=70, failed=rows(second, [f"row-{each}" for each in range(5)]))


def test_rows_that_failed_ahead_of_an_unfinished_one_pause_their_batch() -> None:
    shard = claimed(batch := tolerant(share=0.2, least=10))

    assert keep(shard, position=0, ahead=[(1, 11)], ended=10, failed=rows(shard, ["a", "b"]))
    batch.refresh_from_db()
    assert batch.pause is not None
    assert batch.pause["sentence"] == "2 of 10 rows failed: 2 with declined."


def test_a_round_in_which_everything_fails_again_pauses(workers: Workers) -> None:
    batch = opened([*LINES[:20], *FAILING], shards=1)
    Batch.objects.update(failures={"share": 0.5, "least": 5})
    workers.finish(batch)
    assert batch_control.retry_failed(batch.pk, now=datetime.now(UTC)) == 6

    workers.run(batch.shards.get().pk)
    batch.refresh_from_db()
    assert batch.pause is not None
    assert (batch.state, batch.pause["code"]) == ("paused", Pause.FAILURE_THRESHOLD)
    assert batch.pause["sentence"] == "6 of 6 rows failed since it last went on; in all: 6 with declined."
    batch_control.resume(batch.pk, now=NOW)
    assert errors(workers.finish(batch)).total() == 6


def test_rows_that_a_round_mended_leave_no_room_for_others_to_fail() -> None:
    shard, names = claimed(batch := tolerant(share=None, count=6, least=1)), [f"row-{each}" for each in range(6)]
    assert keep(shard, position=6, ended=6, failed=rows(shard, names))
    assert batch_control.retry_failed(batch.pk, now=NOW) == 6
    assert not keep(shard, position=6, ended=6, redone=rows(shard, names, code=""))

    later = rows(shard, [f"later-{each}" for each in range(6)])
    assert not keep(shard, position=11, ended=5, failed=later[:5])
    shard.refresh_from_db()
    assert (shard.tried, shard.tried_failed, shard.failed_rows) == (17, 11, 5)
    assert keep(shard, position=12, ended=1, failed=later[5:])


def test_a_checkpoint_made_again_counts_no_try_twice() -> None:
    shard = claimed(tolerant())
    block = Checkpoint(part="part", position=2, ended=2, errors={"declined": 1}, failed=rows(shard, ["a"]))
    for _ in range(2):
        shards.checkpoint(shard, block)

    shard.refresh_from_db()
    assert (shard.tried, shard.tried_failed) == (2, 1)


def test_a_retry_forgives_what_had_failed_until_then() -> None:
    shard = claimed(batch := tolerant(share=None, count=6, least=1))
    assert keep(shard, position=6, ended=6, failed=rows(shard, [f"row-{each}" for each in range(6)]))
    batch_control.retry_failed(batch.pk, now=NOW)
    batch.refresh_from_db()

    assert batch.failures == {"share": None, "count": 6, "least": 1, "ended": 6, "failed": 6}
    assert not batch_pauses.pause_if_failing(batch.pk, now=NOW)
