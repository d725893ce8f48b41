"""Parquet that is broken, or unpacks to more than can be held, names its rows; what reading the file raised stays what it was."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from invocation.domain.manifests import MOST_RECORD_BYTES
from invocation.gateways.manifests import columns, pages
from invocation.gateways.manifests.columns import Columns
from invocation.gateways.manifests.tap import Tap
from tests.integration.invocation.manifests.test_broken_files import refused, values

Change = Callable[[bytearray, Any], None]
LAST_DAY = 2_932_896
"""9999-12-31, in days from 1970."""


def written(path: Path, table: pa.Table, **more: Any) -> Path:
    pq.write_table(table, path, **more)
    return path


def text(raw: list[bytes]) -> pa.Array:
    """Return text that nobody looked at."""
    return pa.array(raw, pa.binary()).view(pa.string())


UNSAYABLE = {
    "text that is no UTF-8": text([b"a", b"b", b"\xff"]),
    "a day after the last": pa.array([0, LAST_DAY, LAST_DAY + 1], pa.int32()).cast(pa.date32()),
    "a moment after the last": pa.array([0, 1, 2**62], pa.timestamp("us")),
    "two fields of one name": pa.StructArray.from_arrays(
        [pa.array([1, 2, 3]), pa.array([1, 2, 3])], names=["x", "x"], mask=pa.array([True, True, False])
    ),
}


@pytest.mark.parametrize("column", UNSAYABLE.values(), ids=UNSAYABLE.keys())
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, column: pa.Array) -> None:
    path = written(tmp_path / "rows.parquet", pa.table({"text": column}))

    assert refused(path).facts["line"] == 3


def test_nanoseconds_are_refused_where_nothing_says_them(tmp_path: Path) -> None:
    """As they are in a worker, which has no pandas."""
    path = written(tmp_path / "rows.parquet", pa.table({"at": pa.array([1_000, 1_001], pa.timestamp("ns"))}))
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'pandas': raise ImportError\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from invocation.domain.errors import ManifestInvalid\n"
        "from invocation.gateways.manifests.columns import Columns\n"
        "from invocation.gateways.manifests.tap import Tap\n"
        "try:\n    list(Columns(Tap(open(sys.argv[1], 'rb'))).records())\n"
        "except ManifestInvalid as wrong:\n    print(wrong.facts['line'])\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)

    assert told.stdout == "2\n"


def first_page(raw: bytearray, told: Any) -> None:
    """Break the header of the first page."""
    begin = told.row_group(1).column(0).data_page_offset
    raw[begin : begin + 8] = b"\xff" * 8


def content(raw: bytearray, told: Any) -> None:
    """Break what is packed, behind the header."""
    column = told.row_group(1).column(0)
    begin, header = column.data_page_offset, pages.Header(bytes(raw[column.data_page_offset :]))
    header.page(0)
    raw[begin + header.length : begin + column.total_compressed_size] = b"\xff" * (column.total_compressed_size - header.length)


@pytest.mark.parametrize("change", [first_page, content])
@pytest.mark.parametrize("codec", ["zstd", "snappy"])
def test_a_broken_page_behind_a_good_footer_is_refused_by_its_rows(tmp_path: Path, change: Change, codec: str) -> None:
    rows = pa.table({"text": [f"row {number}" for number in range(100)]})
    path = written(tmp_path / "rows.parquet", rows, row_group_size=50, use_dictionary=False, compression=codec)
    raw = bytearray(path.read_bytes())
    change(raw, pq.read_metadata(path))
    path.write_bytes(raw)

    assert refused(path).facts["line"] == 51


def test_what_is_encrypted_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.parquet", pa.table({"text": ["a"]}))
    path.write_bytes(b"PARE" + path.read_bytes()[4:-4] + b"PARE")

    assert "no Parquet file" in refused(path).detail


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])

    assert refused(written(tmp_path / "rows.parquet", table)).facts["column"] == "text"


class Away(io.BytesIO):
    """A file whose store goes away once its footer is read."""

    is_away = False

    def readinto(self, buffer: Any) -> int:
        if self.is_away:
            raise OSError("the store does not answer")
        return super().readinto(buffer)


def many(tmp_path: Path) -> Path:
    rows = pa.table({"text": [f"row {number}" for number in range(200_000)]})
    return written(tmp_path / "rows.parquet", rows, use_dictionary=False, compression="none")


def test_a_store_that_goes_away_is_no_fault_of_the_manifest(tmp_path: Path) -> None:
    file = Away(many(tmp_path).read_bytes())
    records = Columns(Tap(file)).records()
    next(records)
    file.is_away = True

    with pytest.raises(OSError, match="the store does not answer"):
        list(records)


class Ended(Exception):
    """Nobody wants the rows any more."""


def test_who_hears_of_the_reading_ends_it_by_an_error_of_its_own(tmp_path: Path) -> None:
    heard: list[int] = []

    def listen(read: int) -> None:
        heard.append(read)
        if read > 1 << 20:
            raise Ended

    with pytest.raises(Ended):
        list(Columns(Tap(many(tmp_path).open("rb"), heard=listen)).records())
    assert len(heard) > 4


def batches(path: Path) -> list[Any]:
    with Tap(path.open("rb")) as tap:
        return [batch for _, batch in Columns(tap)._batches(0)]


@pytest.mark.parametrize("is_categories", [False, True])
def test_a_value_that_a_dictionary_repeats_is_not_repeated_in_memory(tmp_path: Path, *, is_categories: bool) -> None:
    """Some kilobytes of a file, read a thousand rows at a time, would be 20 GB."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1_024, pa.int32()), ["x" * 20_000_000])
    path = written(tmp_path / "rows.parquet", pa.table({"text": column}), compression="zstd", store_schema=is_categories)
    assert path.stat().st_size < 100_000

    with Tap(path.open("rb")) as tap:
        _, batch = next(Columns(tap)._batches(0))
    assert batch.nbytes <= columns.MOST_HELD
    assert refused(path).facts["line"] == 1


def test_long_rows_are_read_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LIGHT", 1 << 20)
    path = written(
        tmp_path / "rows.parquet", pa.table({"text": [f"{number}" * 50_000 for number in range(100, 130)]}), use_dictionary=False
    )

    assert max(batch.nbytes for batch in batches(path)) <= 1 << 20
    assert len(values(path)) == 30


def test_a_value_that_says_only_how_it_differs_is_not_repeated_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MOST_HELD", 1 << 20)
    rows = pa.table({"text": ["x" * 150_000] * 30})
    path = written(tmp_path / "rows.parquet", rows, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY")

    assert max(batch.nbytes for batch in batches(path)) <= 1 << 20
    assert len(values(path)) == 30


def test_short_rows_are_read_many_at_a_time(tmp_path: Path) -> None:
    rows = pa.table({"row_id": [f"sku-{number}" for number in range(100_000)], "text": ["a", "b"] * 50_000, "tags": [["x"]] * 100_000})
    path = written(tmp_path / "rows.parquet", rows)

    assert min(batch.num_rows for batch in batches(path)[:-1]) == columns.AT_ONCE


def test_long_rows_among_short_ones_are_each_read_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LIGHT", 1 << 16)
    rows = ["short"] * 50 + ["x" * 100_000] + ["short"] * 50
    path = written(tmp_path / "rows.parquet", pa.table({"text": rows}))

    assert [row["text"] for row in values(path)] == rows


def test_a_row_that_is_too_long_is_named(tmp_path: Path) -> None:
    rows = ["short"] * 50 + ["x" * MOST_RECORD_BYTES] + ["short"] * 50

    assert refused(written(tmp_path / "rows.parquet", pa.table({"text": rows}))).facts["line"] == 51


def test_a_row_is_weighed_before_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two million numbers are 16 MB for Arrow, and many times that for Python."""
    said: list[int] = []

    def say(value: dict[str, Any], row: int) -> bytes:
        said.append(row)
        return b"{}"

    monkeypatch.setattr(columns, "_said", say)
    tags = pa.array([[1], list(range(columns.MOST_OF_A_ROW // 8 + 1))])

    assert "Row 2 has more than" in refused(written(tmp_path / "rows.parquet", pa.table({"tags": tags}))).detail
    assert said == [1]


def test_pages_that_cannot_be_held_are_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MOST_HELD", 1 << 20)
    rows = pa.table({"text": ["a"] + ["x" * 9_000] * 999})
    path = written(tmp_path / "rows.parquet", rows, row_group_size=500, compression="zstd", use_dictionary=False)

    assert (refused(path).facts["line"], "smaller pages" in refused(path).detail) == (1, True)
    written(path, rows, row_group_size=500, use_dictionary=False, write_batch_size=10, data_page_size=1 << 16)
    assert len(values(path)) == 1_000


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_pages_are_found_by_their_headers(tmp_path: Path, *, version: str, codec: str, use_dictionary: bool) -> None:
    """The last of a chunk ends where the chunk does."""
    rows = pa.table({"text": [f"row {number}" for number in range(150_000)], "tags": [["x", None], []] * 75_000, "count": range(150_000)})
    path = written(tmp_path / "rows.parquet", rows, data_page_version=version, compression=codec, use_dictionary=use_dictionary)
    told = pq.read_metadata(path).row_group(0)
    with path.open("rb") as file:
        for column in (told.column(number) for number in range(told.num_columns)):
            found = list(pages._pages(file, column))
            assert sum(page.values for page in found if not page.is_dictionary) == column.num_values
            assert sum(page.is_dictionary for page in found) == use_dictionary
            assert 0 <= column.total_uncompressed_size - sum(page.length for page in found) < 200 * len(found)


@pytest.mark.parametrize(
    "raw", [b"", b"\x15", b"\x15" + b"\xff" * 20, b"\x1d" * 5_000, b"\x1c" * 5_000, b"\x15\x00\x15\x01\x15\x00\x2c\x15\x00\x15\x00\x00\x00"]
)
def test_what_is_no_header_is_refused(raw: bytes) -> None:
    with pytest.raises(pages.BrokenPages):
        pages.Header(raw).page(0)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_text_is_text_however_arrow_holds_it(tmp_path: Path, kind: Any) -> None:
    path = written(tmp_path / "rows.parquet", pa.table({"text": pa.array(["a", None, "b"]).cast(kind)}))

    assert values(path) == [{"text": "a"}, {}, {"text": "b"}]


def test_a_row_that_begins_in_the_middle_is_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.parquet", pa.table({"count": range(1_000)}), row_group_size=400)
    with Tap(path.open("rb")) as tap:
        records = list(Columns(tap, group=1, inside=300).records())

    assert ([record.line for record in records], records[0].raw) == (list(range(701, 1_001)), b'{"count":700}')
