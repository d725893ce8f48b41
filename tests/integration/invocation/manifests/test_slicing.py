"""However a manifest is cut, its slices together are all its rows, once and in order."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from invocation.domain.manifests import Form, Format, Packing, Place, naming, sizes
from invocation.gateways.manifests.opening import Ways, opened

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "count": {"type": "integer"}}}
BOM = b"\xef\xbb\xbf"
Row = dict[str, Any]
quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# csv's own rules of the rest: it knows no difference between an empty cell and none.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(str.strip)
rows = st.lists(st.fixed_dictionaries({"text": texts, "count": st.integers(-(2**53), 2**53)}), min_size=1, max_size=25)
blanks = st.lists(st.sampled_from([b"", b"\n", b" \t\n", b"\r\n\n"]), min_size=30, max_size=30)
shards = st.integers(1, 30)
QUOTED = [{"text": 'a\n"b",\r\n\n', "count": 1}, {"text": "c", "count": 2}]
ends = st.sampled_from([b"\n", b"\r\n"])


def sliced(path: Path, form: Form, count: int, into: int) -> list[Row]:
    """Cut the manifest as planning does, and read each slice from its own place."""
    ways = Ways(form=form, schema=SCHEMA, by=naming(None, SCHEMA))

    def file() -> Any:
        return path.open("rb")

    with opened(file, ways) as whole:
        records = whole.reader.records()
        found = []
        for size in sizes(count, into):
            taken = [next(records) for _ in range(size)]
            found.append((whole.place_of(taken[0]), taken))
        assert next(records, None) is None
    return [row for place, taken in found for row in _again(file, ways, place, taken)]


def _again(file: Callable[[], Any], ways: Ways, place: Place, taken: Sequence[Any]) -> list[Row]:
    with opened(file, ways, place=place) as part:
        records = part.reader.records()
        again = [next(records) for _ in taken]
        assert [(record.line, record.raw) for record in again] == [(record.line, record.raw) for record in taken]
        return [part.reader.value(record) for record in again]


@quickly
@given(rows=rows, blanks=blanks, end=ends, shards=shards, is_ended=st.booleans(), has_bom=st.booleans())
def test_lines(tmp_path: Path, rows: list[Row], blanks: list[bytes], end: bytes, shards: int, *, is_ended: bool, has_bom: bool) -> None:
    raw = b"".join(blank + orjson.dumps(row) + end for row, blank in zip(rows, blanks, strict=False))
    raw = (BOM if has_bom else b"") + (raw + blanks[-1] if is_ended else raw.removesuffix(end))
    path = tmp_path / "rows.jsonl"
    path.write_bytes(raw)

    assert sliced(path, Form(Format.JSONL), len(rows), shards) == rows


def as_csv(rows: Sequence[Row], end: str) -> list[bytes]:
    """Return the header and each row as CSV, whose cells may hold commas, quotes and line ends."""

    def line(cells: Sequence[Any]) -> bytes:
        """Python before 3.13 leaves a lone carriage return unquoted."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL) if "\r" in cells[0] else csv.writer(out, lineterminator=end)
        writer.writerow(cells)
        return out.getvalue().encode()

    return [line(["text", "count"]), *(line([row["text"], row["count"]]) for row in rows)]


@quickly
@given(rows=rows, blanks=blanks, end=ends, shards=shards, is_ended=st.booleans(), has_bom=st.booleans())
@example(rows=QUOTED, blanks=[b"\n"] * 30, end=b"\r\n", shards=2, is_ended=False, has_bom=True)
def test_tables(tmp_path: Path, rows: list[Row], blanks: list[bytes], end: bytes, shards: int, *, is_ended: bool, has_bom: bool) -> None:
    lines = as_csv(rows, end.decode())
    raw = b"".join(blank + line for line, blank in zip(lines, blanks, strict=False))
    path = tmp_path / "rows.csv"
    path.write_bytes((BOM if has_bom else b"") + (raw + blanks[-1] if is_ended else raw.removesuffix(end)))

    assert sliced(path, Form(Format.CSV), len(rows), shards) == rows


@quickly
@given(rows=rows, group=st.integers(1, 9), shards=shards)
def test_columns(tmp_path: Path, rows: list[Row], group: int, shards: int) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)

    assert sliced(path, Form(Format.PARQUET), len(rows), shards) == rows


def packed(pieces: Sequence[bytes], packing: Packing) -> bytes:
    return b"".join(
        gzip.compress(piece) if packing is Packing.GZIP else bytes(pa.compress(piece, "zstd", asbytes=True)) for piece in pieces
    )


@pytest.mark.parametrize("form", [Format.JSONL, Format.CSV])
@pytest.mark.parametrize("packing", [Packing.GZIP, Packing.ZSTD])
@settings(parent=quickly, max_examples=25)
@given(rows=rows, cuts=st.lists(st.integers(0, 2_000), max_size=6), shards=shards)
def test_packed_text(tmp_path: Path, form: Format, packing: Packing, *, rows: list[Row], cuts: list[int], shards: int) -> None:
    """Frames begin and end anywhere, in the middle of a row or of a letter too."""
    whole = b"".join(as_csv(rows, "\r\n") if form is Format.CSV else [orjson.dumps(row) + b"\n" for row in rows])
    at = sorted({0, *(min(cut, len(whole)) for cut in cuts), len(whole)})
    path = tmp_path / f"rows.{form}.{packing}"
    path.write_bytes(packed([whole[begin:end] for begin, end in pairwise(at)], packing))

    assert sliced(path, Form(form, packing), len(rows), shards) == rows
