"""Parquet: columns are input fields, nulls are absent; read a few thousand rows at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from decimal import Decimal
from itertools import accumulate
from typing import Any, BinaryIO

import orjson

from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import MOST_RECORD_BYTES, Record

AT_ONCE = 1_024
BUFFER = 1 << 18


class Columns:
    """Reads rows from a group on. Of a record, `at` is the row's place in the file, from 0."""

    def __init__(self, file: BinaryIO, *, group: int = 0, inside: int = 0) -> None:
        """Raises ManifestInvalid for bytes that are no Parquet."""
        import pyarrow as pa  # noqa: PLC0415  (only readers of Parquet load it)
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._broken = pa.ArrowInvalid
        try:
            self._file = pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
        except pa.ArrowInvalid as broken:
            raise ManifestInvalid(f"manifest: it is no Parquet file: {broken}.", field="manifest") from None
        told = self._file.metadata
        self.rows = int(told.num_rows)
        self.names = tuple(self._file.schema_arrow.names)
        groups = [int(told.row_group(number).num_rows) for number in range(told.num_row_groups)]
        self._starts = [0, *accumulate(groups)]
        self._group, self._inside = group, inside

    def group_of(self, at: int) -> tuple[int, int]:
        """Return the row group that holds a row, and which of its rows that is."""
        group = bisect_right(self._starts, at) - 1
        return group, at - self._starts[group]

    def records(self) -> Iterator[Record]:
        """Raises ManifestInvalid, naming the row, for a value that JSON cannot say."""
        at = self._starts[self._group]
        first = at + self._inside
        for batch in self._batches():
            begin = max(first - at, 0)
            if begin < batch.num_rows:
                for place, value in enumerate(batch.slice(begin).to_pylist(maps_as_pydicts="lossy"), at + begin):
                    yield Record(place + 1, place, _said(value, place + 1))
            at += batch.num_rows

    def _batches(self) -> Iterator[Any]:
        groups = list(range(self._group, len(self._starts) - 1))
        try:
            yield from self._file.iter_batches(batch_size=AT_ONCE, row_groups=groups, use_threads=False) if groups else ()
        except self._broken as broken:
            raise ManifestInvalid(f"manifest: its Parquet is broken: {broken}.", field="manifest") from None

    def value(self, record: Record) -> dict[str, Any]:
        return {name: value for name, value in orjson.loads(record.raw).items() if value is not None}


def _said(value: dict[str, Any], row: int) -> bytes:
    try:
        raw = orjson.dumps(value, default=_plain)
    except (TypeError, orjson.JSONEncodeError):
        raise _unsayable(value, row) from None
    if len(raw) > MOST_RECORD_BYTES:
        raise ManifestInvalid(f"Row {row} has more than {MOST_RECORD_BYTES} bytes as JSON.", line=row)
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
