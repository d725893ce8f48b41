"""Parquet: columns are input fields, nulls are absent; read some hundred rows at a time, fewer where they are long."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import accumulate
from typing import Any, BinaryIO, cast

import orjson

from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import MOST_RECORD_BYTES, Record
from invocation.gateways.manifests.pages import weight
from invocation.gateways.manifests.tap import Tap

AT_ONCE = 512
BUFFER = 1 << 18
MOST_HELD = 256 << 20
"""Bytes, unpacked: the pages that are read at once, a column's each, and what the rows read at once repeat of a dictionary."""
LIGHT = 8 << 20
"""Bytes of rows that are read, and said, together."""
MOST_OF_A_ROW = 16 * MOST_RECORD_BYTES
"""Of a row as Arrow holds it, where a number is longer than JSON says it."""


class Columns:
    """Reads rows from a group on. Of a record, `at` is the row's place in the file, from 0."""

    def __init__(self, tap: Tap, *, group: int = 0, inside: int = 0) -> None:
        """Raises ManifestInvalid for bytes that are no Parquet, and for two columns of one name."""
        import pyarrow as pa  # noqa: PLC0415  (only readers of Parquet load it)
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._tap = tap
        self._text = cast("BinaryIO", io.BufferedReader(tap, 1 << 16))
        self._wrong = (pa.ArrowException, OSError, ValueError, ArithmeticError, LookupError, RecursionError)
        with self._sound("manifest: it is no Parquet file", field="manifest"):
            self._file = pq.ParquetFile(self._text, buffer_size=BUFFER, pre_buffer=False)
            self.names = tuple(self._file.schema_arrow.names)
        _must_differ(self.names)
        told = self._file.metadata
        self.rows = int(told.num_rows)
        groups = [int(told.row_group(number).num_rows) for number in range(told.num_row_groups)]
        self._starts = [0, *accumulate(groups)]
        self._group, self._inside = group, inside

    def group_of(self, at: int) -> tuple[int, int]:
        """Return the row group that holds a row, and which of its rows that is."""
        group = bisect_right(self._starts, at) - 1
        return group, at - self._starts[group]

    def records(self) -> Iterator[Record]:
        """Raises ManifestInvalid, naming the row, for what cannot be read, is too long, or is nothing that JSON can say."""
        first = self._starts[self._group] + self._inside
        for group in range(self._group, len(self._starts) - 1):
            for at, batch in self._batches(group):
                begin = max(first - at, 0)
                if begin < batch.num_rows:
                    for place, value in enumerate(self._values(batch.slice(begin), at + begin), at + begin):
                        yield Record(place + 1, place, _said(value, place + 1))

    def _batches(self, group: int) -> Iterator[tuple[int, Any]]:
        """Yield a group's rows, some at a time, and at which row each begins."""
        at = self._starts[group]
        rows = self._rows_at_once(group)
        batches = map(_plain_columns, self._file.iter_batches(batch_size=rows, row_groups=[group], use_threads=False))
        while True:
            with self._sound(f"From row {at + 1} on its Parquet is broken", line=at + 1):
                batch = next(batches, None)
            if batch is None:
                return
            yield at, batch
            at += batch.num_rows

    def _rows_at_once(self, group: int) -> int:
        """Return how many rows can be held at once, whatever a few bytes of the file unpack to. Raises ManifestInvalid."""
        first, told = self._starts[group] + 1, self._file.metadata.row_group(group)
        with self._sound(f"From row {first} on its Parquet is broken", line=first):
            weights = [weight(self._text, told.column(number), rows=told.num_rows) for number in range(told.num_columns)]
        if sum(each.page for each in weights) > MOST_HELD:
            raise ManifestInvalid(
                f"From row {first} on pages have together more than {MOST_HELD >> 20} MiB, unpacked: write it with smaller pages.",
                line=first,
            )
        row, repeated = sum(each.row for each in weights), sum(each.repeated for each in weights)
        return max(1, min(AT_ONCE, LIGHT // max(1, row), MOST_HELD // max(1, repeated)))

    def _values(self, batch: Any, at: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of a batch: together, or each by itself if they are long or one of them has to be named."""
        if batch.num_rows == 1:
            yield self._value(batch, at)
            return
        values: Sequence[dict[str, Any]] | None = None
        if batch.nbytes <= LIGHT:
            with suppress(*self._wrong):
                values = batch.to_pylist(maps_as_pydicts="lossy")
        yield from values or (self._value(batch.slice(number, 1), at + number) for number in range(batch.num_rows))

    def _value(self, row: Any, at: int) -> dict[str, Any]:
        if row.nbytes > MOST_OF_A_ROW:
            raise _too_long(at + 1)
        with self._sound(f"Row {at + 1} cannot be read", line=at + 1):
            return cast("dict[str, Any]", row.to_pylist(maps_as_pydicts="lossy")[0])

    @contextmanager
    def _sound(self, sentence: str, **facts: Any) -> Iterator[None]:
        """Take what the reader of Parquet raises for the manifest's fault, unless it is what reading the file itself raised."""
        try:
            yield
        except self._wrong as broken:
            raise self._tap.broke or ManifestInvalid(f"{sentence}: {broken}.", **facts) from None

    def value(self, record: Record) -> dict[str, Any]:
        return {name: value for name, value in orjson.loads(record.raw).items() if value is not None}


def _must_differ(names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ManifestInvalid(f"manifest: it has a second column {name!r}.", field="manifest", column=name)


def _plain_columns(batch: Any) -> Any:
    """Return a batch whose values stand where a dictionary's were pointed to: so much are they when they are said."""
    import pyarrow as pa  # noqa: PLC0415

    if not any(isinstance(column, pa.DictionaryArray) for column in batch.columns):
        return batch
    columns = [column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _too_long(row: int) -> ManifestInvalid:
    return ManifestInvalid(f"Row {row} has more than {MOST_RECORD_BYTES} bytes as JSON.", line=row)


def _said(value: dict[str, Any], row: int) -> bytes:
    try:
        raw = orjson.dumps(value, default=_plain)
    except (TypeError, orjson.JSONEncodeError):
        raise _unsayable(value, row) from None
    if len(raw) > MOST_RECORD_BYTES:
        raise _too_long(row)
    return raw


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(type(value).__name__)


def _unsayable(value: dict[str, Any], row: int) -> ManifestInvalid:
    """Name the first column that JSON cannot say."""
    for name, found in value.items():
        try:
            orjson.dumps(found, default=_plain)
        except (TypeError, orjson.JSONEncodeError):
            kind = type(found).__name__
            return ManifestInvalid(f"Row {row}, column {name}: {kind} is nothing that JSON can say.", line=row, column=name)
    return ManifestInvalid(f"Row {row} cannot be said as JSON.", line=row)
