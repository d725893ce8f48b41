"""Every part of a manifest's reading is heard of, and what nothing can keep is refused by its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from invocation.domain.errors import ManifestInvalid, StaleMove
from invocation.domain.manifests import form_of
from invocation.gateways import declared
from invocation.gateways.manifests import repeats
from invocation.models import Batch
from invocation.services import batches, cutting, planning
from invocation.services.manifests import Manifest
from quota.domain.days import UNLIMITED
from tests.integration.invocation.batches.planned import LINES, manifest, unread
from tests.integration.invocation.rows import NOW

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def of(path: Path) -> Manifest:
    return Manifest(location=str(path), form=form_of(path.name))


def terms() -> cutting.Terms:
    return cutting.Terms(endpoint=declared.book().find("trial-batch@1"), day=UNLIMITED, shards=4)


def heard_of(path: Path) -> list[tuple[int, int | None, int]]:
    """Cut a manifest; return what its beat was told."""
    heard: list[tuple[int, int | None, int]] = []
    cutting.cut(of(path), terms(), beat=lambda *told: heard.append(told))
    return heard


def test_every_part_of_a_reading_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part, of which the third compares the names that look alike, is so long that a lease would end in it."""
    monkeypatch.setattr(repeats, "hash", lambda _: 7, raising=False)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in LINES))
    heard, size = heard_of(path), path.stat().st_size

    assert {(0, None, size), (128, None, size), (0, 150, size), (128, 150, size)} <= set(heard)
    assert [told[:2] for told in heard].count((64, 150)) == 2


def test_the_hashing_of_parquet_is_heard_of_at_every_buffer(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [{**line, "says": [f"{number}" * 10_000]} for number, line in enumerate(LINES)]
    pq.write_table(pa.Table.from_pylist(rows), path, use_dictionary=False, compression="none")
    heard, size = heard_of(path), path.stat().st_size

    assert {(0, None, 1 << 20), (0, None, 2 << 20), (0, None, size)} <= set(heard)


def test_a_manifest_of_blank_lines_is_left_once_its_batch_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row ever comes that could be told of."""
    monkeypatch.setattr(planning, "BEAT_S", 0.0)
    path = manifest([], raw=b"\n" * 1_000)
    batch = unread(of(path))
    batches.cancel(batch.pk, now=NOW)

    with pytest.raises(StaleMove):
        cutting.cut(of(path), terms(), beat=planning._Beat(batch, bool))


def planned(batch: Batch) -> dict[str, Any]:
    """Plan a batch; return its fault."""
    planning.plan(batch.pk)
    batch.refresh_from_db()
    assert batch.state == "failed", batch.planning
    return dict(batch.fault or {})


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("rows.jsonl", rb'{"text": "one"}' + b"\n" + rb'{"text": 7, "says": ["a\u0000b"]}'),
        ("rows.jsonl", rb'{"text": "one"}' + b"\n" + rb'{"row_id": "two", "says": ["a\u0000b"]}'),
        ("rows.jsonl", rb'{"text": "one"}' + b"\n" + rb'{"text": "two", "a\u0000b": 1}'),
        ("rows.csv", b"text\na\0b\n"),
    ],
)
def test_text_that_nothing_can_keep_fails_its_batch_by_the_line(tmp_path: Path, name: str, raw: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    fault = planned(unread(of(path)))

    assert (fault["code"], fault["line"]) == ("manifest_invalid", 2)


def test_text_of_parquet_that_nothing_can_keep_fails_its_batch_by_the_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a", "a\0b"]}), path)

    assert planned(unread(of(path)))["line"] == 2


DEEP = b"[" * 300 + b"]" * 300


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("rows.jsonl", b'{"text": "one"}\n{"row_id": "deep", "items": ' + DEEP + b"}\n"),
        ("rows.jsonl", b'{"text": "one"}\n{"items": ' + DEEP + b"}\n"),
        ("rows.csv", b"row_id,items\nlong,[12345678901234567890123]\n"),
        ("rows.csv", b"items\n[12345678901234567890123]\n"),
    ],
    ids=["deep", "deep without a name", "a long number", "a long number without a name"],
)
def test_a_row_that_can_be_read_and_not_written_fails_its_batch_by_the_line(tmp_path: Path, name: str, raw: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    fault = planned(unread(of(path)))

    assert (fault["code"], fault["line"]) == ("manifest_invalid", 2)
    assert "cannot be kept as JSON" in fault["sentence"]


def test_escapes_that_can_be_kept_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(rb'{"text": "\ud83d\ude00 \\u0000"}')

    assert cutting.cut(of(path), terms()).rows == 1


def breaking(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the reading of a manifest end with an error."""

    def cut(*given: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(cutting, "cut", cut)


def test_a_fault_is_stored_whatever_it_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, ManifestInvalid("Line 3: a\0b.", line=3, found=["\0", {"\0": float("inf")}], wanted="\ud800"))
    fault = planned(unread(of(manifest(LINES))))

    assert (fault["sentence"], fault["found"], fault["wanted"]) == ("Line 3: a\ufffdb.", ["\ufffd", {"\ufffd": "inf"}], "\ufffd")


def test_what_broke_a_reading_is_stored_whatever_it_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, OSError("a\0b"))
    batch = unread(of(manifest(LINES)))
    planning.plan(batch.pk)
    batch.refresh_from_db()

    assert batch.planning == {"broke": "OSError: a\ufffdb"}
