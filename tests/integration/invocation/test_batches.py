"""Batches: refused whole or run whole; each row ends exactly once, whatever dies in between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow.parquet as pq
import pytest
from django.db import IntegrityError, transaction
from kombu import Queue

from config.celery import app
from invocation.domain.batches import BatchState, ShardState
from invocation.domain.errors import InvocationError, ManifestInvalid, StaleMove, TooManyItems
from invocation.gateways import declared, objects, parquet
from invocation.models import Batch, BatchRow, Outbox, Shard
from invocation.models.admission import HoldScope
from invocation.services import batches, datasets, holds, manifests, shard_engine, shards
from invocation.services.batches import BatchOpening
from invocation.services.shard_engine import ShardEngine
from invocation.services.shards import Checkpoint
from quota.models import LedgerEntry, ModelQuota
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import LEASE, NOW, TRACE, a_process
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
TENANT = uuid4()
LINES = [{"row_id": f"row-{number:03d}", "text": f"row {number}", "says": [f"said {number}"]} for number in range(150)]


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def quota(transactional_db: None) -> None:
    """The offline models have the quota of a new installation."""
    for model in ("gearbox-offline-standard", "gearbox-offline-economy"):
        terms = {"tokens_per_minute": 2_000_000, "requests_per_minute": 20_000}
        ModelQuota.objects.get_or_create(provider="offline", model=model, defaults=terms)


@pytest.fixture(autouse=True)
def p3() -> Iterator[Queue]:
    """The broker's own queue of class p3, empty."""
    with app.connection_for_write() as broker:
        queue = app.amqp.queues["p3"](broker.default_channel)
        queue.declare()
        queue.purge()
        yield queue
        queue.purge()


def manifest(lines: list[Any], *, raw: bytes | None = None) -> Path:
    path = objects.inside(TENANT, f"manifests/{uuid4()}.jsonl")
    objects.write_whole(path, raw if raw is not None else "".join(json.dumps(line) + "\n" for line in lines).encode())
    return path


def opened(lines: list[Any] | None = None, **terms: Any) -> Batch:
    endpoint = declared.book().find(terms.pop("endpoint", "trial-batch@1"))
    source = terms.pop("source", None) or manifest(LINES if lines is None else lines)
    return batches.open_batch(BatchOpening(tenant_id=TENANT, endpoint=endpoint, source=source, **{"shards": 4, **terms}), now=NOW)


@dataclass(frozen=True, slots=True)
class Workers:
    """Runs shards as a p3 worker would, on a loop of their own."""

    on_loop: OnLoop[Any]

    def run(self, *shard_ids: int, owner: UUID | None = None) -> list[str]:
        async def story() -> list[str]:
            engine = ShardEngine(owner=owner or uuid4())
            return [await engine.run(shard_id) for shard_id in shard_ids]

        found: list[str] = self.on_loop(story())
        return found

    def finish(self, batch: Batch) -> Batch:
        """Send waves and run their shards until the batch has ended."""
        for _ in range(10):
            batches.next_wave(batch.pk, now=NOW)
            self.run(*batch.shards.filter(state=ShardState.QUEUED).order_by("index").values_list("pk", flat=True))
            batches.next_wave(batch.pk, now=NOW)
            batch.refresh_from_db()
            if batch.finished_at:
                return batch
        raise AssertionError("the batch did not end")


@pytest.fixture
def workers(on_loop: OnLoop[Any]) -> Workers:
    return Workers(on_loop)


def results(batch: Batch) -> Counter[str]:
    return Counter(row["row_id"] for row in datasets.rows(batch.pk))


def errors(batch: Batch) -> Counter[str]:
    files = Path(batch.output).glob("errors/*.parquet")
    return Counter(row["row_id"] for file in files for row in pq.read_table(file).to_pylist())


def test_a_batch_is_planned_in_slices_and_starts_nothing_by_itself(p3: Queue) -> None:
    batch = opened(cost_usd=Decimal("3.00"))

    assert (batch.state, batch.rows, batch.cost_cap_usd) == ("planned", 150, Decimal("3.00"))
    assert [shard.rows for shard in batch.shards.order_by("index")] == [38, 38, 37, 37]
    assert opened(cost_usd=Decimal(0)).cost_cap_usd == 0
    assert waiting(p3) == 0


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b'{"text": "one"}\n{"text": "two"\n', 2),
        (b'{"text": "one"}\n\n[1]\n', 3),
        (b'{"text": "one"}\n{"text": 7}\n', 2),
        (b'{"row_id": "a", "text": "one"}\n{"row_id": "a", "text": "two"}\n', 2),
        (b'{"text": "one"}\n{"text": "one"}\n', 2),
        (b'{"row_id": "a\\u0000b"}\n', 1),
        (b'{"text": "' + b"x" * 1_001 + b'"}\n', 1),
        (b'{"text": "' + b"x" * 1_048_576 + b'"}\n', 1),
        (b"", 1),
        (b"\n \n", 1),
    ],
    ids=[
        "half",
        "a list",
        "a wrong field",
        "an id twice",
        "a line twice",
        "a bad id",
        "too many tokens",
        "too long a line",
        "empty",
        "blank",
    ],
)
def test_a_broken_manifest_names_the_line_and_starts_nothing(raw: bytes, line: int) -> None:
    with pytest.raises(ManifestInvalid) as refused:
        opened(source=manifest([], raw=raw))

    assert refused.value.facts["line"] == line
    assert not Batch.objects.exists()
    assert not Shard.objects.exists()


def test_a_wrong_field_of_a_row_is_named_with_its_line() -> None:
    with pytest.raises(ManifestInvalid, match="Line 2") as refused:
        opened([{"text": "one"}, {"text": 7}])

    assert refused.value.facts["field"] == "/text"


def test_more_rows_than_the_endpoint_takes_are_refused() -> None:
    with pytest.raises(TooManyItems):
        opened([{"row_id": str(number)} for number in range(1_001)])

    assert not Batch.objects.exists()


def test_every_row_of_a_batch_ends_in_the_dataset_once(workers: Workers) -> None:
    batch = workers.finish(opened())
    found = sorted(datasets.rows(batch.pk), key=lambda row: str(row["row_id"]))

    assert batch.state == "completed"
    assert [(row["row_id"], row["text"]) for row in found] == [(line["row_id"], line["says"][0]) for line in LINES]
    assert {**datasets.manifest(batch.pk)} | {"files": None} == {
        "batch": str(batch.pk),
        "endpoint": "trial-batch@1",
        "agent": "trial@1",
        "manifest_sha256": batch.manifest_sha256,
        "rows": 150,
        "results": 150,
        "errors": 0,
        "files": None,
    }
    assert not (Path(batch.output) / "_staging").exists()
    assert BatchRow.objects.filter(batch=batch, outcome="completed").count() == 150
    assert Outbox.objects.get(topic=batches.COMPLETED_TOPIC).run_id == batch.pk


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


def test_a_batch_of_which_every_row_failed_has_an_empty_dataset(workers: Workers) -> None:
    batch = workers.finish(opened([{"row_id": "no", "fails": "decline"}]))

    assert (batch.state, list(datasets.rows(batch.pk)), errors(batch)) == ("completed", [], Counter(["no"]))


def test_a_curable_error_of_a_row_is_tried_again(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_engine, "RETRY_WAIT_S", 0.01)
    batch = workers.finish(opened([{"row_id": "once", "fails_once": "provider"}, {"row_id": "always", "fails": "provider"}], shards=1))

    assert (results(batch), errors(batch)) == (Counter(["once"]), Counter(["always"]))
    assert DONE["runs"] == 2 + 3


def test_a_kill_between_the_part_and_its_checkpoint_leaves_each_row_once(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = opened(shards=1)
    shard = batch.shards.get()
    with monkeypatch.context() as dying:
        dying.setattr(shards, "checkpoint", _after(1, shards.checkpoint))
        assert workers.run(shard.pk) == ["failed"]
    shard.refresh_from_db()
    assert (shard.state, shard.position, len(shard.parts)) == ("working", 64, 1)
    assert len(list(Path(batch.output).glob("_staging/*/*.parquet"))) == 2

    assert batches.rescue_shards(now=NOW) == 1
    workers.finish(batch)
    assert results(batch) == Counter(line["row_id"] for line in LINES)
    assert BatchRow.objects.filter(batch=batch).count() == 150
    assert DONE["runs"] == 150 + 64


class Killed(RuntimeError):
    """The process would be gone here."""


def _after(calls: int, real: Callable[..., None]) -> Callable[..., None]:
    """Return the real thing for so many calls, and death for the next."""
    left = iter(range(calls))

    def dying(*args: Any) -> None:
        if next(left, None) is None:
            raise Killed
        real(*args)

    return dying


def block_of(shard: Shard, *, name: str = "shard=00000/late.parquet") -> Checkpoint:
    row = BatchRow(
        batch_id=shard.batch_id,
        row_id="late",
        run_id=uuid4(),
        shard=0,
        outcome="completed",
        agent="trial@1",
        traceparent=TRACE,
        duration_ms=1,
        at=NOW,
    )
    return Checkpoint(part=name, rows=[row], lines=[], failed=0)


@pytest.mark.parametrize("act", ["checkpoint", "complete", "hand_back"])
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
        batches.cancel(batch.pk, now=NOW)
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


def test_a_shard_is_claimed_once(workers: Workers) -> None:
    shard = opened(shards=1).shards.get()

    assert shards.claim(shard.pk, owner=uuid4()) is not None
    assert shards.claim(shard.pk, owner=uuid4()) is None
    assert workers.run(shard.pk) == ["taken"]


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
    assert (shard.state, shard.position, shard.owner) == ("queued", 64, None)
    workers.finish(batch)
    assert results(batch) == Counter(line["row_id"] for line in LINES)


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


def test_a_wave_goes_out_as_one_chord_and_ends_in_one_callback(p3: Queue) -> None:
    batch = opened()

    assert batches.next_wave(batch.pk, now=NOW) == 4
    assert waiting(p3) == 4
    batch.refresh_from_db()
    assert (batch.state, batch.wave, batch.wave_at) == ("running", 1, NOW)


def test_a_lost_callback_is_swept_up(workers: Workers) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    workers.run(*batch.shards.values_list("pk", flat=True))

    assert batches.sweep(now=NOW + batches.WAVE_TRUSTED / 2) == 0
    batches.sweep(now=NOW + 2 * batches.WAVE_TRUSTED)
    batch.refresh_from_db()
    assert batch.state == "completed"


def test_a_wave_whose_messages_were_lost_is_sent_again(p3: Queue) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    p3.purge()

    assert batches.sweep(now=NOW + 2 * batches.WAVE_TRUSTED) == 4
    assert waiting(p3) == 4


def test_the_sweep_leaves_a_batch_at_work_alone() -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    shards.claim(batch.shards.order_by("index")[0].pk, owner=a_process("p3", lease=timedelta(hours=1)).pk)

    assert batches.sweep(now=NOW + 2 * batches.WAVE_TRUSTED) == 0


def test_the_callback_of_an_older_wave_changes_nothing(workers: Workers) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    batches.next_wave(batch.pk, now=NOW)
    batches.after_wave(batch.pk, 1)
    batch.refresh_from_db()

    assert batch.wave == 2


def test_gathering_twice_writes_the_same(workers: Workers) -> None:
    batch = opened()
    batches.next_wave(batch.pk, now=NOW)
    workers.run(*batch.shards.values_list("pk", flat=True))
    folder = Path(batch.output)
    kept = {part: part.read_bytes() for part in folder.glob("_staging/*/*.parquet")}
    batches.gather(batch.pk, now=NOW)
    first = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.GATHERING, finished_at=None)
    for part, content in kept.items():
        objects.write_whole(part, content)
    batches.gather(batch.pk, now=NOW)

    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == first
    assert not list(folder.rglob(".*"))
    batches.gather(batch.pk, now=NOW + timedelta(hours=1))
    batch.refresh_from_db()
    assert batch.finished_at == NOW


def test_a_dataset_is_not_read_before_it_is_whole(workers: Workers) -> None:
    batch = opened()
    with pytest.raises(FileNotFoundError):
        datasets.manifest(batch.pk)


def test_no_row_is_called_for_once_the_ceiling_is_reached(workers: Workers) -> None:
    lines = [{"row_id": f"row-{number:03d}", "model": f"What is new in {number}?"} for number in range(128)]
    batch = opened(lines, shards=1)
    Batch.objects.filter(pk=batch.pk).update(cost_cap_usd=Decimal("0.000001"))
    batch = workers.finish(batch)

    assert results(batch) == Counter()
    assert errors(batch) == Counter(line["row_id"] for line in lines)
    assert set(BatchRow.objects.values_list("error_code", flat=True)) == {"budget_exceeded"}
    assert not LedgerEntry.objects.exists()


def test_what_finished_rows_cost_counts_against_the_ceiling(workers: Workers) -> None:
    lines = [{"row_id": f"row-{number:03d}", "model": f"What is new in {number}?"} for number in range(128)]
    batch = opened(lines, shards=1)
    Batch.objects.filter(pk=batch.pk).update(cost_cap_usd=Decimal("0.001"))
    batch = workers.finish(batch)
    spent = sum(batch.shards.values_list("cost_usd", flat=True), Decimal(0))

    assert sum(results(batch).values()) + sum(errors(batch).values()) == 128
    assert set(errors(batch)) >= {line["row_id"] for line in lines[64:]}
    assert spent == sum(LedgerEntry.objects.values_list("cost_usd", flat=True), Decimal(0))


@pytest.mark.parametrize("state", BatchState)
def test_a_batch_is_cancelled_before_it_is_gathered_only(state: BatchState) -> None:
    batch = opened(shards=2)
    ended = state in {BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED}
    Batch.objects.filter(pk=batch.pk).update(state=state, finished_at=NOW if ended else None)
    if state not in {BatchState.PLANNED, BatchState.RUNNING}:
        with pytest.raises(StaleMove):
            batches.cancel(batch.pk, now=NOW)
        return
    batches.cancel(batch.pk, now=NOW)

    batch.refresh_from_db()
    assert (batch.state, set(batch.shards.values_list("state", flat=True))) == ("cancelled", {"cancelled"})
    assert batches.next_wave(batch.pk, now=NOW) == 0


def test_a_running_shard_of_a_cancelled_batch_stops_at_its_checkpoint(on_loop: OnLoop[Any]) -> None:
    batch = opened([{**line, "wait": "cancel"} for line in LINES], shards=1)

    async def story() -> str:
        import asyncio

        from invocation.gateways.database import off_loop

        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run((await off_loop(batch.shards.get)).pk))
        await until(lambda: DONE["runs"] > 0)
        await off_loop(batches.next_wave, batch.pk, now=NOW)
        await off_loop(batches.cancel, batch.pk, now=NOW)
        GATES["cancel"].set()
        return await running

    assert on_loop(story()) == "stale"
    assert DONE["runs"] == 64
    assert not BatchRow.objects.exists()


@pytest.mark.parametrize(
    ("scope", "value"), [("endpoint", "trial-batch@1"), ("agent", "trial@1"), ("class", "p3"), ("tenant", str(TENANT))]
)
def test_a_held_batch_sends_no_wave(p3: Queue, scope: str, value: str) -> None:
    batch = opened()
    hold = holds.hold(HoldScope(scope), value, reason="a repair", by=None, now=NOW)
    assert batches.next_wave(batch.pk, now=NOW) == 0
    assert waiting(p3) == 0

    holds.release(hold.pk, by=None, now=NOW)
    assert batches.sweep(now=NOW) == 4


@pytest.mark.parametrize("path", ["../other/manifest.jsonl", "/etc/passwd", "manifests/../../x", ".", "", "missing.jsonl"])
def test_a_manifest_lies_in_its_tenants_part_of_the_store(path: str) -> None:
    with pytest.raises(InvocationError) as refused:
        manifests.located(TENANT, path)

    assert refused.value.facts["field"] == "manifest"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..", ".", ""])
def test_a_path_that_leads_out_of_a_tenants_folder_is_refused(path: str) -> None:
    with pytest.raises(objects.BadPath):
        objects.inside(TENANT, path)


def test_a_link_out_of_a_tenants_folder_is_refused(store: Path) -> None:
    (store / str(TENANT)).mkdir()
    (store / str(TENANT) / "out").symlink_to("/etc")
    with pytest.raises(objects.BadPath):
        objects.inside(TENANT, "out/passwd")

    assert objects.inside(TENANT, "in/there.json") == (store / str(TENANT) / "in/there.json").resolve()


def test_rows_that_come_with_a_request_are_a_manifest_of_the_tenants() -> None:
    rows: list[Mapping[str, Any]] = [{"row_id": "a", "text": "one"}, {"row_id": "b", "text": "two"}]
    path = manifests.stage(TENANT, rows)

    assert [json.loads(line) for line in path.read_bytes().splitlines()] == rows
    assert len(manifests.check(path, declared.book().find("trial-batch@1")).offsets) == 2


def test_a_part_written_again_replaces_itself(store: Path) -> None:
    rows = [{"row_id": "a", "error_code": "", "finished_at": datetime.now(UTC)}]
    for _ in range(2):
        parquet.write_part(store, "shard=00000/part.parquet", rows)

    assert [file.name for file in (store / "_staging").rglob("*") if file.is_file()] == ["part.parquet"]
