"""A file that cannot be read as what it says it is names the line, and says what to do."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import Form, Format, Packing, form_of, naming
from invocation.gateways.manifests import packing
from invocation.gateways.manifests.opening import Ways, opened

NOON = "2026-11-30T12:00:00+00:00"
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "count": {"type": "integer"}}}


def values(path: Path, *, row_id: str | None = None) -> list[dict[str, Any]]:
    ways = Ways(form=form_of(path.name), schema=SCHEMA, by=naming(row_id, SCHEMA))
    with opened(lambda: path.open("rb"), ways) as found:
        return [found.reader.value(record) for record in found.reader.records()]


def refused(path: Path, **more: Any) -> ManifestInvalid:
    with pytest.raises(ManifestInvalid) as found:
        values(path, **more)
    return found.value


@pytest.mark.parametrize(
    ("raw", "line", "words"),
    [
        (b"text,count\na,1\nb,two\n", 3, "column count: 'two' is not integer"),
        (b"text,count\na,1\n\nb\n", 4, "1 cells, the header 2"),
        (b"text,count\na,1,2\n", 2, "3 cells, the header 2"),
        (b"text,text\na,1\n", 1, "a second column 'text'"),
        (b"text,\na,1\n", 1, "no name for column 2"),
        (b"text,count\n\xff,1\n", 2, "not UTF-8"),
        (b"text,count\na,1\nb\0,1\n", 3, "U+0000"),
        (b'text,count\na,1\n"b,2\nc,3\n', 3, "not CSV"),
        (b'text,count\na"b"\r\n"c" d,1\n', 2, ""),
        (b"text,count\na\rb,1\n", 2, "not CSV"),
        (b'text,count\n"' + b"x\n" * 600_000 + b'",1\n', 2, "a quote in it is never closed"),
        (b"", 1, "names its columns"),
        (b"\n\n", 1, "names its columns"),
    ],
)
def test_broken_csv_names_the_line(tmp_path: Path, raw: bytes, line: int, words: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(raw)
    wrong = refused(path)

    assert (wrong.facts["line"], words in wrong.detail) == (line, True), wrong.detail


def test_a_wrong_cell_names_its_column_and_its_field(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,count\na,x\n")

    assert refused(path).facts == {"line": 2, "column": "count", "field": "/count", "found": "x"}


def test_an_empty_cell_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'row_id,text,count\n007,,\n,"",3\n')

    assert values(path) == [{"row_id": "007"}, {"count": 3}]


def test_a_table_without_the_column_that_names_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,count\na,1\n")

    assert refused(path, row_id="sku").facts["column"] == "sku"


def test_columns_say_what_json_can_say(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    columns = {
        "text": ["a", None],
        "count": pa.array([1, 2], pa.int8()),
        "price": [Decimal("4.50"), Decimal("5.00")],
        "day": [date(2026, 11, 30), None],
        "at": [datetime(2026, 11, 30, 12, tzinfo=UTC), None],
        "tags": [["x"], []],
        "facts": [{"a": 1}, {"a": None}],
        "rate": [float("nan"), 0.5],
        "kind": pa.array(["k", "k"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), path)

    assert values(path) == [
        {
            "text": "a",
            "count": 1,
            "price": 4.5,
            "day": "2026-11-30",
            "at": "2026-11-30T12:00:00+00:00",
            "tags": ["x"],
            "facts": {"a": 1},
            "kind": "k",
        },
        {"count": 2, "price": 5, "tags": [], "facts": {"a": None}, "rate": 0.5, "kind": "k"},
    ]


def test_a_column_that_json_cannot_say_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "image": [None, b"\x89PNG"]}), path)

    assert (refused(path).facts["line"], refused(path).facts["column"]) == (2, "image")


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv.gz", "rows.jsonl.zst"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PAR1 or not, " * 10)

    assert refused(path).facts["field"] == "manifest"


def gzipped(raw: bytes) -> bytes:
    return gzip.compress(raw)


def zstd(raw: bytes) -> bytes:
    return bytes(pa.compress(raw, "zstd", asbytes=True))


def zstd_in_a_stream(raw: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as file:
        file.write(raw)
    return bytes(out.getvalue())


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzipped), ("zst", zstd)])
def test_a_file_that_ends_in_the_middle_is_refused(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"rows.jsonl.{ending}"
    path.write_bytes(pack(b'{"text": "a"}\n' * 5_000)[:-9])

    assert "cannot be unpacked" in refused(path).detail


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzipped), ("zst", zstd)])
def test_a_frame_that_is_too_long_to_begin_behind_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(packing, "MOST_OF_A_FRAME", 1 << 20)
    line = b'{"text": "a"}\n'
    path = tmp_path / f"rows.jsonl.{ending}"
    path.write_bytes(pack(line * 100_000))
    wrong = refused(path)
    path.write_bytes(pack(line * 50_000) * 2)

    assert (wrong.facts["reason"], "one behind the other" in wrong.detail) == ("not_seekable", True)
    assert len(values(path)) == 100_000


def test_frames_between_those_of_the_text_are_passed_over(tmp_path: Path) -> None:
    """As pzstd writes them (RFC 8878, section 3.1.2)."""
    skippable = (0x184D2A50).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"\x00\x01\x02\x03"
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(skippable + zstd(b'{"text": "a"}\n') + skippable + zstd_in_a_stream(b'{"text": "b"}\n'))

    assert values(path) == [{"text": "a"}, {"text": "b"}]


def test_zeros_behind_a_gzip_are_padding(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzipped(b'{"text": "a"}\n') + b"\0" * 512)

    assert values(path) == [{"text": "a"}]


def test_a_file_closes_with_its_reading(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"{}\n")
    files = []

    def file() -> Any:
        files.append(path.open("rb"))
        return files[-1]

    with opened(file, Ways(form=Form(Format.JSONL, Packing.NONE), schema=SCHEMA, by=naming(None, SCHEMA))):
        pass

    assert [each.closed for each in files] == [True]
