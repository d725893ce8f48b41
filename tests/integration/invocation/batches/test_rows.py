"""Each row of a batch ends exactly once, in the results or in the errors, and inside the ceiling."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import F

from invocation.api.shapes.batches import BatchShape
from invocation.domain.batches import Row
from invocation.domain.budgets import Wish
from invocation.domain.jobs import BROKE
from invocation.gateways import database, declared, parquet
from invocation.gateways.database import off_loop
from invocation.models import Batch, BatchOutbox, BatchRow
from invocation.services import batch_pauses, batches, datasets, manifests, row_runs, shard_runs, shards, waves
from invocation.services.finished_rows import columns, lost
from invocation.services.shard_engine import ShardEngine
from quota.models import BatchLedgerEntry
from tests.integration.invocation.batches.planned import LINES, Workers, errors, failed_rows, manifest, opened, results
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import NOW
from tests.integration.invocation.trial import DONE, FACTS

CHECKED_ELSEWHERE = ("files", "bytes", "columns")
pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def test_every_row_of_a_batch_ends_in_the_dataset_once(workers: Workers) -> None:
    batch = workers.finish(opened())
    found = sorted(datasets.rows(batch.pk), key=lambda row: str(row["row_id"]))

    assert batch.state == "completed"
    assert [(row["row_id"], row["text"]) for row in found] == [(line["row_id"], line["says"][0]) for line in LINES]
    assert {**datasets.manifest(batch.pk)} | dict.fromkeys(CHECKED_ELSEWHERE) == {
        "batch": str(batch.pk),
        "endpoint": "trial-batch@1",
        "agent": "trial@1",
        "manifest_sha256": batch.manifest_sha256,
        "rows": 150,
        "results": 150,
        "errors": 0,
        "round": 0,
        "rows_of_manifest": 150,
        "partial": False,
        "partition_by": [],
        **dict.fromkeys(CHECKED_ELSEWHERE),
    }
    assert not (Path(batch.output) / "_staging").exists()
    assert not BatchRow.objects.exists()
    assert BatchOutbox.objects.get(topic=batches.COMPLETED_TOPIC).run_id == batch.pk


def test_blank_lines_are_no_rows_and_confuse_no_slice(workers: Workers) -> None:
    raw = b"\n".join(json.dumps(line).encode() + b"\n" * (number % 3) for number, line in enumerate(LINES))
    batch = workers.finish(opened(source=manifest([], raw=raw), shards=7))

    assert results(batch) == Counter(line["row_id"] for line in LINES)


def test_rows_that_fail_are_recorded_beside_those_that_did_not(workers: Workers) -> None:
    lines = [*LINES[:5], {"row_id": "no", "fails": "decline"}, {"row_id": "crash", "fails": "crash"}]
    batch = workers.finish(opened(lines))

    assert results(batch) == Counter(line["row_id"] for line in LINES[:5])
    assert errors(batch) == Counter(["no", "crash"])
    assert sum(batch.shards.values_list("failed_rows", flat=True)) == 2


@pytest.mark.parametrize("crash", ["crash", "nul"])
def test_what_a_crash_says_is_for_operators_and_no_datasets(workers: Workers, crash: str) -> None:
    batch = workers.finish(opened([{"row_id": "crash", "fails": crash}]))

    assert [(row["error_code"], row["error"]) for row in failed_rows(batch)] == [("agent_crashed", BROKE)]


class Owned:
    """Nothing that JSON can say."""


UNPLAIN: list[tuple[Any, Any]] = [
    ({"price": Decimal("1.50")}, None),
    ({"owner": Owned()}, None),
    ({"terms": MappingProxyType({"a": 1})}, {"terms": {"a": 1}}),
    ({"answer": NOW}, {"answer": NOW.isoformat()}),
    ({"big": 10**30}, {"big": 10**30}),
]


@pytest.mark.parametrize(("facts", "kept"), UNPLAIN, ids=["decimal", "object", "mapping", "moment", "big"])
def test_facts_and_outputs_are_kept_as_a_jobs_and_cost_no_row(workers: Workers, facts: Any, kept: Any) -> None:
    FACTS.update(facts)
    try:
        batch = workers.finish(opened([{"row_id": "strange", "facts": True}, *LINES[:3]], shards=1))
    finally:
        FACTS.clear()
    found = {row["row_id"]: row for row in datasets.rows(batch.pk)}

    assert (batch.state, len(found), DONE["runs"]) == ("completed", 4, 4)
    told = found["strange"]["facts"]
    assert (None if told is None else {name: json.loads(told)[name] for name in facts}) == kept
    assert json.loads(found["strange"]["output"])["answer"] == (kept or {}).get("answer")
    assert all(json.loads(found[line["row_id"]]["facts"]) for line in LINES[:3])


@pytest.mark.parametrize("given", [Decimal("1.50"), 10**30, json.loads("[" * 300 + "]" * 300)], ids=["decimal", "big", "deep"])
def test_an_input_that_cannot_be_said_plainly_costs_no_row_and_no_neighbour(given: Any) -> None:
    batch = opened(LINES[:2])
    found = columns(batch, [lost(0, Row("strange", {"b": given, "a": 1}, 1)), lost(1, Row("plain", {"b": 2, "a": 1}, 2))], now=NOW)
    datasets.write_part(batch, "shard=00000/part.parquet", found)

    assert json.loads(found["input"][0]) == {"a": 1, "b": str(given) if isinstance(given, Decimal) else given}
    assert found["input"][1] == '{"a":1,"b":2}'


def test_a_batch_of_which_every_row_failed_has_an_empty_dataset(workers: Workers) -> None:
    batch = workers.finish(opened([{"row_id": "no", "fails": "decline"}]))

    assert (batch.state, list(datasets.rows(batch.pk)), errors(batch)) == ("completed", [], Counter(["no"]))


def test_a_curable_error_of_a_row_is_tried_again(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_runs, "RETRY_WAIT_S", 0.01)
    batch = workers.finish(opened([{"row_id": "once", "fails_once": "provider"}, {"row_id": "always", "fails": "provider"}], shards=1))

    assert (results(batch), errors(batch)) == (Counter(["once"]), Counter(["always"]))
    assert DONE["runs"] == 2 + 3


def test_a_kill_between_the_part_and_its_checkpoint_leaves_each_row_once(
    workers: Workers, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_runs, "CHECKPOINT_ROWS", 64)
    monkeypatch.setattr(shard_runs, "MOST_FINISHED", 64)
    settings.ROWS_OF_A_SHARD = 1
    batch = opened(shards=1)
    shard = batch.shards.get()
    with monkeypatch.context() as dying:
        dying.setattr(shards, "checkpoint", _after(1, shards.checkpoint))
        with pytest.raises(Killed):
            workers.run(shard.pk)
    shard.refresh_from_db()
    ran, kept = DONE["runs"], shard.position
    assert (shard.state, len(shard.parts)) == ("working", 1)
    assert 64 <= kept < ran
    assert len(list(Path(batch.output).glob("_staging/*/*.parquet"))) == 2

    assert batches.rescue_shards(now=NOW) == 1
    workers.finish(batch)
    assert results(batch) == Counter(line["row_id"] for line in LINES)
    assert DONE["runs"] == ran + len(LINES) - kept


class Killed(BaseException):
    """The process would be gone here: nothing that catches errors catches this."""


def _after(calls: int, real: Callable[..., None]) -> Callable[..., None]:
    """Return the real thing for so many calls, and death for the next."""
    left = iter(range(calls))

    def dying(*args: Any) -> None:
        if next(left, None) is None:
            raise Killed
        real(*args)

    return dying


ASKED = [{"row_id": f"row-{number:03d}", "model": f"What is new in {number}?"} for number in range(128)]


def test_a_batch_whose_ceiling_holds_no_call_is_paused_and_no_row_ends_as_an_error(workers: Workers) -> None:
    batch = opened(ASKED, shards=2)
    Batch.objects.filter(pk=batch.pk).update(cost_cap_usd=Decimal("0.000001"), state="running", started_at=NOW)
    assert set(workers.run(*batch.shards.values_list("pk", flat=True))) <= {"spent", "taken"}
    batch.refresh_from_db()

    assert (batch.state, (batch.pause or {})["code"]) == ("paused", "cost_ceiling")
    assert not BatchRow.objects.exists()
    assert not BatchLedgerEntry.objects.exists()
    assert batch.shards.filter(state="queued", position=0).count() == 2

    batch_pauses.resume(batch.pk, now=NOW, wish=Wish(cost_usd=Decimal(10_000)))
    batch.refresh_from_db()
    assert batch.cost_cap_usd == declared.book().by_label[batch.endpoint].budgets.cost_usd
    assert results(workers.finish(batch)) == Counter(line["row_id"] for line in ASKED)


def test_shards_that_run_at_once_spend_no_more_than_the_ceiling_and_nearly_all_of_it(on_loop: OnLoop[Any]) -> None:
    batch = opened(ASKED, shards=4, cost_usd=Decimal("0.008"))
    Batch.objects.filter(pk=batch.pk).update(state="running", started_at=NOW)

    async def story() -> None:
        engine = ShardEngine(owner=uuid4())
        shard_ids = await off_loop(lambda: list(batch.shards.values_list("pk", flat=True)))
        await asyncio.gather(*(engine.run(shard_id) for shard_id in shard_ids))
        while not (await off_loop(Batch.objects.get, pk=batch.pk)).pause:
            next_due = batch.shards.filter(state="queued").order_by(F("due_at").asc(nulls_first=True)).values_list("pk", flat=True)
            await engine.run(await off_loop(next_due.__getitem__, 0))

    on_loop(story())
    batch.refresh_from_db()
    spent = sum(batch.shards.values_list("cost_usd", flat=True), Decimal(0))
    assert (batch.pause or {})["code"] == "cost_ceiling"
    assert not BatchRow.objects.exists()
    assert Decimal("0.5") * batch.cost_cap_usd < spent <= batch.cost_cap_usd
    assert spent == sum(BatchLedgerEntry.objects.values_list("cost_usd", flat=True), Decimal(0))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is away is not waited for."""
    monkeypatch.setattr(database, "AWAY_EVERY_S", 0.01)
    monkeypatch.setattr(database, "AWAY_TRIES", 3)


@pytest.mark.usefixtures("hasty")
def test_a_shard_that_breaks_is_tried_again_later_each_time_and_the_third_time_its_batch_is_paused(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = opened(shards=2)
    shard = batch.shards.get(index=0)
    states, waits = [], []
    with monkeypatch.context() as full:
        full.setattr(parquet, "write_part", _full_disk)
        for _ in range(shards.FAILURES_OF_A_BATCH):
            began = datetime.now(UTC)
            assert workers.run(shard.pk) == ["failed"]
            shard.refresh_from_db()
            batch.refresh_from_db()
            states.append((shard.state, batch.state))
            assert shard.due_at
            waits.append((shard.due_at - began).total_seconds())

    assert states == [("queued", "planned"), ("queued", "planned"), ("queued", "paused")]
    assert waits[0] < 2 <= waits[1] < 4 <= waits[2]
    assert (batch.pause or {})["code"] == "shard_broke"
    assert "No space left" in (batch.pause or {})["broke"]
    assert "No space left" not in str(BatchShape(batch).data)
    assert waves.go_on(batch.pk, now=NOW) == 0

    batch_pauses.resume(batch.pk, now=NOW)
    shard.refresh_from_db()
    assert (shard.failures, shard.due_at) == (0, None)
    assert results(workers.finish(batch)) == Counter(line["row_id"] for line in LINES)


@pytest.mark.usefixtures("hasty")
def test_a_store_that_is_away_for_a_while_is_waited_for_and_no_row_runs_twice(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, write, tries = opened(shards=1), parquet.write_part, iter(range(2))

    def away(*given: Any) -> str:
        if next(tries, None) is not None:
            raise OSError("the bucket does not answer")
        return write(*given)

    monkeypatch.setattr(parquet, "write_part", away)
    assert workers.run(batch.shards.get().pk) == ["completed"]
    assert (DONE["runs"], batch.shards.get().failures) == (len(LINES), 0)


@pytest.mark.usefixtures("hasty")
def test_a_manifest_that_cannot_be_read_for_a_while_is_read_on_where_it_was(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, read, dies = opened(shards=1), manifests.read, iter([40, 5])

    def away(*given: Any, **terms: Any) -> Iterator[Any]:
        yield from islice(read(*given, **terms), end := next(dies, None))
        if end is not None:
            raise OSError("the bucket does not answer")

    monkeypatch.setattr(manifests, "read", away)
    monkeypatch.setattr(shard_runs, "ROWS_READ_AT_ONCE", 30)
    assert workers.run(batch.shards.get().pk) == ["completed"]
    assert results(workers.finish(batch)) == Counter(line["row_id"] for line in LINES)
    assert DONE["runs"] == len(LINES)


def _full_disk(*_: Any) -> str:
    raise OSError("No space left on device")
