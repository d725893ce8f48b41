"""A worker reads a batch's manifest: killed, cancelled or ending, it leaves a batch that another plans, once."""

from __future__ import annotations

import os
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from kombu import Queue

from invocation.domain.errors import ManifestChanged, ManifestInvalid, StaleMove
from invocation.domain.manifests import form_of
from invocation.gateways.manifests import sources
from invocation.gateways.stores import store_at
from invocation.models import Batch, Shard, StoreGrant
from invocation.services import batch_pauses, batches, cutting, manifest_files, manifests, planning, shards, waves
from invocation.services.cutting import Beat
from invocation.services.manifests import Manifest
from invocation.services.shard_rows import ShardRows
from tests.integration.invocation.batches.planned import LINES, TENANT, manifest, opened, results, unread, waiting
from tests.integration.invocation.batches.planned import Workers as Workers_
from tests.integration.invocation.rows import a_process

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def of(source: Path) -> Manifest:
    return Manifest(location=str(source), form=form_of(source.name))


def begun(raw: bytes | None = None) -> Batch:
    return unread(of(manifest(LINES, raw=raw)))


def now() -> datetime:
    return datetime.now(UTC)


class Killed(BaseException):
    """The process would be gone here: nothing that catches errors catches this."""


def test_a_worker_plans_a_batch_that_then_runs(p3: Queue, workers: Workers_) -> None:
    batch = begun()
    assert (batch.state, batch.rows, batch.shards.count(), batch.manifest_bytes) == ("planning", 0, 0, Path(batch.manifest).stat().st_size)

    planning.plan(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.rows, [shard.rows for shard in batch.shards.order_by("index")]) == ("planned", 150, [38, 38, 37, 37])
    assert (batch.planner, batch.planning) == (None, None)
    planning.plan(batch.pk)
    assert batch.shards.count() == 4
    assert sum(results(workers.finish(batch)).values()) == 150


def test_a_broken_manifest_fails_its_batch_by_the_line() -> None:
    batch = begun(b'{"text": "one"}\n{"text": 7}\n')
    planning.plan(batch.pk)
    batch.refresh_from_db()

    assert (batch.state, batch.shards.count(), batch.finished_at is not None) == ("failed", 0, True)
    assert batch.fault is not None
    assert {name: batch.fault[name] for name in ("code", "line", "field", "found")} == {
        "code": "manifest_invalid",
        "line": 2,
        "field": "/text",
        "found": 7,
    }
    assert batch.fault["sentence"].startswith("Line 2: /text")


def test_too_many_rows_and_a_manifest_that_is_gone_fail_their_batch() -> None:
    many, gone = begun(b"".join(b'{"row_id": %d}\n' % number for number in range(1_001))), begun()
    Path(gone.manifest).unlink()
    for batch in (many, gone):
        planning.plan(batch.pk)
        batch.refresh_from_db()

    assert [batch.fault and batch.fault["code"] for batch in (many, gone)] == ["too_many_items", "manifest_unreadable"]


def test_reading_stops_at_one_row_more_than_the_endpoint_takes() -> None:
    """The rest is not even JSON, nor of one line's length."""
    lines = b"".join(b'{"row_id": %d}\n' % number for number in range(1_001))
    batch = begun(lines + b"x" * 2_000_000)
    planning.plan(batch.pk)
    batch.refresh_from_db()

    assert batch.fault is not None
    assert batch.fault["code"] == "too_many_items"


def dying(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let whoever reads a manifest die in the middle."""

    def cut(of: Manifest, terms: cutting.Terms, *, beat: Beat) -> Any:
        raise error

    monkeypatch.setattr(cutting, "cut", cut)


def test_a_batch_whose_planner_was_killed_is_planned_by_another_once_its_lease_ended(p3: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = begun()
    with monkeypatch.context() as patch:
        dying(patch, Killed())
        with pytest.raises(Killed):
            planning.plan(batch.pk)

    planning.plan(batch.pk)
    batch.refresh_from_db()
    assert batch.state == "planning"
    assert (planning.sweep(now=now()), waiting(p3)) == (0, 0)

    Batch.objects.filter(pk=batch.pk).update(planning_at=now() - 2 * planning.LEASE)
    assert (planning.sweep(now=now()), waiting(p3)) == (1, 1)
    planning.plan(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.planning_tries, batch.shards.count()) == ("planned", 2, 4)


def test_a_planner_that_was_taken_for_dead_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = begun()
    real = cutting.cut

    def overtaken(of: Manifest, terms: cutting.Terms, *, beat: Beat) -> Any:
        """While this one sleeps another plans the batch."""
        found = real(of, terms, beat=beat)
        Batch.objects.filter(pk=batch.pk).update(planning_at=now() - 2 * planning.LEASE)
        monkeypatch.setattr(cutting, "cut", real)
        planning.plan(batch.pk)
        return found

    monkeypatch.setattr(cutting, "cut", overtaken)
    planning.plan(batch.pk)

    batch.refresh_from_db()
    assert (batch.state, batch.planning_tries, Shard.objects.filter(batch=batch).count()) == ("planned", 2, 4)


def test_a_batch_is_cancelled_while_it_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "BEAT_S", 0.0)
    batch = begun()
    seen: list[int] = []
    real = planning._Beat.__call__

    def cancelling(beat: Any, rows: int, of: int | None, read: int) -> None:
        seen.append(rows)
        if rows == 128:
            batches.cancel(batch.pk, now=now())
        real(beat, rows, of, read)

    monkeypatch.setattr(planning._Beat, "__call__", cancelling)
    planning.plan(batch.pk)

    batch.refresh_from_db()
    assert (batch.state, batch.shards.count(), seen) == ("cancelled", 0, [0, 64, 128])


def test_how_far_the_reading_is_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "BEAT_S", 0.0)
    monkeypatch.setattr(cutting, "BEAT_ROWS", 100)
    batch = begun()
    seen: list[Any] = []
    real = planning._Beat.__call__

    def looking(beat: Any, rows: int, of: int | None, read: int) -> None:
        real(beat, rows, of, read)
        seen.append(Batch.objects.get(pk=batch.pk).planning)

    monkeypatch.setattr(planning._Beat, "__call__", looking)
    planning.plan(batch.pk)

    length = batch.manifest_bytes
    steps = [(told["rows_read"], told["rows"], told["bytes_read"]) for told in seen]
    assert list(dict.fromkeys(steps)) == [(0, None, length), (100, None, length), (0, 150, length), (100, 150, length)]
    assert {told["bytes"] for told in seen} == {length}


def test_a_process_that_ends_leaves_the_manifest_to_another_at_once(p3: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "BEAT_ROWS", 50)
    batch = begun()
    planning.plan(batch.pk, is_ending=lambda: True)
    batch.refresh_from_db()

    assert (batch.state, batch.planner, batch.planning_tries, waiting(p3)) == ("planning", None, 0, 1)
    planning.plan(batch.pk)
    batch.refresh_from_db()
    assert batch.state == "planned"


def test_a_process_plans_one_batch_at_a_time_and_then_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, other, third = begun(), begun(), begun()
    planner, real, inside = planning.Planner(), cutting.cut, []

    def nested(of: Manifest, terms: cutting.Terms, *, beat: Beat) -> Any:
        """Another message comes while the first is worked on."""
        threads = threading.Thread(target=planner.take, args=[other.pk])
        threads.start()
        threads.join()
        inside.append(sorted(Batch.objects.values_list("state", flat=True)))
        return real(of, terms, beat=beat)

    monkeypatch.setattr(cutting, "cut", nested)
    planner.take(batch.pk)

    assert inside[0] == ["planning", "planning", "planning"]
    assert set(Batch.objects.values_list("state", flat=True)) == {"planned"}
    planner.end()
    planner.take(third.pk)


def test_a_manifest_that_nobody_can_read_fails_its_batch_after_some_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = begun()
    dying(monkeypatch, OSError("the disk does not answer"))
    for _ in range(planning.MOST_TRIES + 1):
        Batch.objects.filter(pk=batch.pk).update(planning_at=now() - 2 * planning.LEASE)
        planning.plan(batch.pk)
        batch.refresh_from_db()

    assert (batch.state, batch.fault and batch.fault["code"]) == ("failed", "manifest_unreadable")
    assert "the disk does not answer" in (batch.fault or {})["broke"]


def test_a_manifest_that_is_written_while_it_is_read_fails_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = begun()
    real, marks = sources.stamp, iter(["first", "second"])
    monkeypatch.setattr(sources, "stamp", lambda location: real(location)._replace(mark=next(marks)))
    planning.plan(batch.pk)
    batch.refresh_from_db()

    assert batch.fault is not None
    assert batch.fault["code"] == "manifest_changed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw + b'{"row_id": "more"}\n', "no longer has"),
        (lambda raw: raw.replace(b"row 149", b"row 941"), "are not those that were planned"),
        (lambda raw: raw.replace(b'"row-140"', b'"row-999"'), "are not those that were planned"),
        (lambda raw: b"\n" + raw[:-1], "are not those that were planned"),
        (None, "is gone"),
    ],
    ids=["longer", "another value", "another id", "moved", "gone"],
)
def test_rows_that_were_changed_after_planning_are_not_read(change: Any, words: str) -> None:
    batch = opened()
    path = Path(batch.manifest)
    content = path.read_bytes()
    path.unlink()
    if change:
        path.write_bytes(change(content))
    last = shards.ShardClaimed(batch.shards.get(index=3), batch).slice

    with pytest.raises(ManifestChanged, match=words) as changed:
        next(manifests.read(batch, last, skip=0))
    assert changed.value.facts == {"shard": 3, "line": 114}


def rewrite(path: Path, content: bytes) -> None:
    """Write into the file itself, as who holds it open sees it, at another moment."""
    with path.open("r+b") as file:
        file.write(content)
    told = path.stat().st_mtime_ns + 1
    os.utime(path, ns=(told, told))


def rows_of(batch: Batch) -> ShardRows:
    return ShardRows(shards.ShardClaimed(batch.shards.get(), batch), ())


@pytest.mark.parametrize(
    "change",
    [lambda raw: raw.replace(b'"row 149"', b'"row 941"'), lambda raw: raw.replace(b'"row 149"', b'"row 149 ')],
    ids=["another value", "no JSON"],
)
def test_a_manifest_that_is_written_over_while_a_shard_reads_it_gives_no_foreign_row(change: Any) -> None:
    lines = [{**line, "more": "x" * 10_000} for line in LINES]
    batch = opened(lines, shards=1)
    path, rows = Path(batch.manifest), rows_of(batch)
    content = path.read_bytes()
    assert [row.id for _, row in rows.read(2)] == ["row-000", "row-001"]
    rewrite(path, change(content))

    for _ in range(2):
        with pytest.raises(ManifestChanged, match="are not those that were planned"):
            rows.read(148)
    rewrite(path, content)
    assert [row.id for _, row in rows.read(200)] == [line["row_id"] for line in LINES[2:]]


def test_a_manifest_that_is_only_touched_while_a_shard_reads_it_is_read_on() -> None:
    batch = opened(shards=1)
    path, rows = Path(batch.manifest), rows_of(batch)
    first = rows.read(2)
    rewrite(path, path.read_bytes())

    assert [row.id for _, row in [*first, *rows.read(200)]] == [line["row_id"] for line in LINES]


def test_a_manifest_that_is_written_all_the_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, marks, real = rows_of(opened(shards=1)), count(), sources.stamp
    monkeypatch.setattr(sources, "stamp", lambda location: real(location)._replace(mark=str(next(marks))))

    with pytest.raises(ManifestChanged, match="written while it is read"):
        rows.read(2)


def test_rows_of_other_shards_may_change_and_a_file_may_be_put_back() -> None:
    batch = opened()
    path = Path(batch.manifest)
    path.write_bytes(path.read_bytes().replace(b'"row 0"', b'"row 9"'))
    first, last = (shards.ShardClaimed(batch.shards.get(index=index), batch).slice for index in (0, 3))

    assert [row.id for row in manifests.read(batch, last, skip=35)] == ["row-148", "row-149"]
    with pytest.raises(ManifestChanged):
        next(manifests.read(batch, first, skip=10))
    path.write_bytes(path.read_bytes().replace(b'"row 9"', b'"row 0"', 1))
    assert next(manifests.read(batch, first, skip=10)).id == "row-010"


def test_a_batch_whose_manifest_changed_pauses_and_goes_on_when_it_is_put_back(workers: Workers_) -> None:
    batch = opened(shards=2)
    path = Path(batch.manifest)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"row 149"', b'"row 941"'))
    a_process("p3", slots=10, now=now())
    waves.go_on(batch.pk, now=now())
    first, last = batch.shards.order_by("index")
    assert workers.run(first.pk, last.pk) == ["completed", "manifest_changed"]
    batch.refresh_from_db()
    last.refresh_from_db()
    assert (batch.state, last.state, last.position, last.failures) == ("paused", "queued", 0, 0)
    assert batch.pause is not None
    assert (batch.pause["code"], "75 rows from line 76" in batch.pause["sentence"]) == ("manifest_changed", True)

    path.write_bytes(content)
    batch_pauses.resume(batch.pk, now=now())
    assert results(workers.finish(batch)) == Counter(line["row_id"] for line in LINES)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.csv.gz", "rows.parquet"])
def test_a_manifest_in_s3_that_was_granted_is_planned_and_run(s3_folder: str, workers: Workers_, tmp_path: Path, name: str) -> None:
    rows = [{"row_id": f"r{number}", "text": f"row {number}"} for number in range(50)]
    table, path = pa.Table.from_pylist(rows), tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(table, path, row_group_size=7)
    elif name.endswith("jsonl"):
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    else:
        with pa.output_stream(path) as file:
            pa.csv.write_csv(table, file)
    store_at(s3_folder).write_whole(f"lists/{name}", path.read_bytes())
    with pytest.raises(ManifestInvalid, match="was not granted"):
        manifest_files.located(TENANT, f"{s3_folder}/lists/{name}")

    StoreGrant.objects.create(tenant_id=TENANT, prefix=f"{s3_folder}/lists")
    batch = unread(manifest_files.located(TENANT, f"{s3_folder}/lists/{name}"))
    planning.plan(batch.pk)
    assert results(workers.finish(batch)) == Counter(row["row_id"] for row in rows)


def test_a_slice_planned_before_hashes_were_kept_is_believed() -> None:
    batch = opened()
    Shard.objects.filter(batch=batch).update(sha256="")
    Batch.objects.filter(pk=batch.pk).update(manifest_bytes=None)
    batch.refresh_from_db()
    path = Path(batch.manifest)
    path.write_bytes(path.read_bytes() + b"\n")

    assert len(list(manifests.read(batch, shards.ShardClaimed(batch.shards.get(index=3), batch).slice, skip=0))) == 37


def test_only_who_holds_the_planning_ends_it() -> None:
    batch = begun()
    stranger = Batch.objects.get(pk=batch.pk)
    Batch.objects.filter(pk=batch.pk).update(planning_at=now() + timedelta(days=1), planner=batch.pk)

    with pytest.raises(StaleMove):
        batches.refuse(stranger, {"code": "x"}, now=now())
    batch.refresh_from_db()
    assert batch.state == "planning"
