"""A checkpoint counts as a whole or not at all: the process dies after each of its statements in turn, and nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from invocation.domain.places import Places
from invocation.gateways import database, parquet
from invocation.gateways.database import BATCH
from invocation.models import Batch, BatchRow, Shard
from invocation.services import batches, datasets, gathering, shard_runs, shards
from quota.models import BatchLedgerEntry
from tests.integration.invocation.batches.planned import Workers, errors, opened, results

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
BAD = frozenset({"row-03", "row-07", "row-11"})
NAMES = [f"row-{number:02d}" for number in range(16)]
LINES = [{"row_id": name, "model": f"What is new in {name}?", **({"fails_late": "decline"} if name in BAD else {})} for name in NAMES]
MOST_STATEMENTS = 12


class Killed(BaseException):
    """The process would be gone here: nothing that catches errors catches this."""


class Dying:
    """Lets so many statements of one checkpoint pass, and then cuts the session off, as PostgreSQL sees a process that is gone."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, execute: Callable[..., Any], *given: Any) -> Any:
        if self.left == 0:
            given[-1]["connection"].connection.close()
            raise Killed
        self.left -= 1
        return execute(*given)


def dying_at(checkpoint: int, after: int, real: Callable[..., None]) -> Callable[..., None]:
    """Return what commits checkpoints, and dies in this one after so many statements, or behind its commit if there are fewer."""
    count = iter(range(checkpoint + 1))

    def commit(*given: Any) -> None:
        if next(count, None) != checkpoint:
            return real(*given)
        dying = Dying(after)
        with connections[BATCH].execute_wrapper(dying):
            real(*given)
        commit.statements = after - dying.left  # type: ignore[attr-defined]
        raise Killed

    return commit


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Four rows a checkpoint, two at once."""
    monkeypatch.setattr(shard_runs, "CHECKPOINT_ROWS", 4)
    monkeypatch.setattr(shard_runs, "MOST_FINISHED", 4)
    settings.ROWS_OF_A_SHARD = 2


def test_a_process_that_dies_after_any_statement_of_a_checkpoint_leaves_each_row_once(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in range(MOST_STATEMENTS):
        if is_behind_the_last(workers, monkeypatch, after):
            assert after >= 3, "a checkpoint has at least its shard, its errors and its ledger"
            return
    raise AssertionError(f"a checkpoint has more than {MOST_STATEMENTS} statements")


def is_behind_the_last(workers: Workers, monkeypatch: pytest.MonkeyPatch, after: int) -> bool:
    """Die in the second checkpoint, go on in another process, and compare; say whether its commit was heard before the death."""
    batch = opened(LINES, shards=1)
    Batch.objects.filter(pk=batch.pk).update(failures={"share": None})
    commit = dying_at(1, after, shards.checkpoint)
    with monkeypatch.context() as patched:
        patched.setattr(shards, "checkpoint", commit)
        patched.setattr(shards, "book_late", lambda *_: None)
        with pytest.raises(Killed):
            workers.run(batch.shards.get().pk)
    is_committed = hasattr(commit, "statements")
    check(batch.shards.get(), batch, checkpoints=2 if is_committed else 1)

    assert batches.rescue_shards(now=datetime.now(UTC)) == 1
    workers.finish(batch)
    assert results(batch) == Counter(line["row_id"] for line in LINES if line["row_id"] not in BAD)
    assert errors(batch) == Counter(BAD)
    assert set(BatchRow.objects.filter(batch=batch).values_list("row_id", flat=True)) == BAD
    shard = batch.shards.get()
    lines = BatchLedgerEntry.objects.filter(parent_id=str(batch.pk))
    assert (shard.position, shard.ahead, shard.failed_rows, shard.errors) == (len(LINES), [], 3, {"declined": 3})
    assert (shard.calls, shard.cost_usd) == (lines.count(), sum(line.cost_usd for line in lines))
    assert lines.count() == len(LINES)
    return is_committed


def check(shard: Shard, batch: Batch, *, checkpoints: int) -> None:
    """What is on record is of whole checkpoints: position, parts, errors and ledger tell the same."""
    finished = sum(place in Places(shard.position, shard.ahead) for place in range(len(LINES)))
    assert (shard.state, len(shard.parts)) == ("working", checkpoints)
    assert finished >= 4 * checkpoints
    assert BatchRow.objects.filter(batch=batch).count() == shard.failed_rows == sum(shard.errors.values())
    assert BatchLedgerEntry.objects.filter(parent_id=str(batch.pk)).count() == shard.calls == finished


def test_the_same_attempt_writes_over_what_it_could_not_commit_and_another_beside_it(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = opened(LINES, shards=1)
    with monkeypatch.context() as patched:
        patched.setattr(shards, "checkpoint", dying_at(0, 0, shards.checkpoint))
        with pytest.raises(Killed):
            workers.run(batch.shards.get().pk)
    assert batches.rescue_shards(now=datetime.now(UTC)) == 1
    workers.run(batch.shards.get().pk)

    parts = batch.shards.get().parts
    assert parts[0] == "shard=00000/part-000000-0002.parquet"
    assert [part.rpartition("-")[0] for part in parts] == [f"shard=00000/part-{number:06d}" for number in range(len(parts))]


def staged(batch: Batch) -> list[str]:
    return sorted(path.name for path in Path(batch.output).glob("_staging/*/*"))


def lost(batch: Batch) -> None:
    """Cancel it while the shard's process is taken for dead."""
    now = datetime.now(UTC)
    batches.cancel(batch.pk, now=now)
    assert batches.rescue_shards(now=now) == 1
    batches.cancel_left(now=now)


def test_a_part_that_was_written_after_staging_was_dropped_is_taken_back(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, real, found = opened(LINES, shards=1), shards.checkpoint, []

    def late(*given: Any) -> None:
        found.append(staged(batch))
        lost(batch)
        gathering.gather_rest(batch.pk, now=datetime.now(UTC))
        assert staged(batch) == []
        datasets.write_part(batch, given[1].part, {"row_id": ["row-00"], "finished_at": [None]})
        real(*given)

    monkeypatch.setattr(shards, "checkpoint", late)
    assert workers.run(batch.shards.get().pk) == ["stale"]
    assert found == [["part-000000-0001.parquet"]]
    assert staged(batch) == []


def test_a_part_that_counts_stays_though_nobody_heard_that_it_was_committed(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, real, calls = opened(LINES, shards=1), shards.checkpoint, count()

    def unheard(*given: Any) -> None:
        real(*given)
        if not next(calls):
            lost(batch)
            raise OSError("the answer never came")

    monkeypatch.setattr(shards, "checkpoint", unheard)
    monkeypatch.setattr(database, "AWAY_EVERY_S", 0.0)
    assert workers.run(batch.shards.get().pk) == ["stale"]
    assert staged(batch) == batch.shards.get().parts[0].split("/")[-1:]
    gathering.gather_rest(batch.pk, now=datetime.now(UTC))
    assert parquet.read_manifest(datasets.store_of(batch), mark=parquet.PARTIAL)["rows"] >= 4
