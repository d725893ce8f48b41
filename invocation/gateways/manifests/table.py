"""CSV (RFC 4180): UTF-8, a header, commas; cells are read by the endpoint's input schema."""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

from invocation.domain import cells
from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import MOST_BLANK_LINES, MOST_RECORD_BYTES, Record, too_blank

csv.field_size_limit(MOST_RECORD_BYTES)


class Table:
    """Reads records from where `text` stands. The first of a file is its header, which `header` takes."""

    def __init__(self, text: BinaryIO, *, line: int = 1, at: int = 0) -> None:
        self._text, self._line, self._at = text, line, at
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.columns: tuple[str, ...] = ()
        self.head = b""
        self._readers: tuple[tuple[str, cells.Read], ...] = ()

    def header(self, schema: Mapping[str, Any], names_rows: str) -> None:
        """Take the first record for the names of the columns; that of the column that names rows is text. Raises ManifestInvalid."""
        first = next(self._all(), None)
        if first is None:
            raise ManifestInvalid("The manifest is empty: the first line of CSV names its columns.", line=1, field="manifest")
        columns = [str(name).strip() for name in cast("Sequence[str]", first.cells)]
        for place, name in enumerate(columns):
            if not name or name in columns[:place]:
                what = f"a second column {name!r}" if name else f"no name for column {place + 1}"
                raise ManifestInvalid(f"Line {first.line}: the header has {what}.", line=first.line, column=name or place + 1)
        self.take(columns, first.raw, schema, names_rows)

    def take(self, columns: Sequence[str], head: bytes, schema: Mapping[str, Any], names_rows: str) -> None:
        """Take the columns of a header that was read elsewhere."""
        properties = schema.get("properties", {})
        text = {names_rows} - set(properties)
        self.columns, self.head = tuple(columns), head
        self._readers = tuple((name, str if name in text else cells.reader(schema, name)) for name in columns)

    @property
    def place(self) -> tuple[int, int]:
        """Return the line and byte at which the next record is looked for."""
        return self._line, self._at

    def records(self) -> Iterator[Record]:
        """Raises ManifestInvalid, naming the line, for bytes that are no CSV."""
        width = len(self.columns)
        for record in self._all():
            found = len(cast("Sequence[str]", record.cells))
            if found != width:
                raise ManifestInvalid(
                    f"Line {record.line} has {found} cells, the header {width}.", line=record.line, found=found, wanted=width
                )
            yield record

    def value(self, record: Record) -> dict[str, Any]:
        """Return the record's cells as the schema has them; an empty one is absent. Raises ManifestInvalid, naming line and column."""
        value = {}
        for (name, read), text in zip(self._readers, cast("Sequence[str]", record.cells), strict=True):
            if text:
                try:
                    value[name] = read(text)
                except cells.NotThat as wrong:
                    raise _wrong(record, name, text, wrong.wanted) from None
        return value

    def _all(self) -> Iterator[Record]:
        rows = csv.reader(self._physical(), strict=True)
        last = self._line
        while True:
            line, at = self._line, self._at
            self._held, self._held_bytes = [], 0
            try:
                found = next(rows)
            except StopIteration:
                return
            except csv.Error as broken:
                raise ManifestInvalid(f"Line {line} is not CSV: {broken}.", line=line) from None
            raw = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            if found and not raw.isspace():
                yield Record(line, at, raw, found)
                last = self._line
            elif line - last > MOST_BLANK_LINES:
                raise too_blank(line)

    def _physical(self) -> Iterator[str]:
        readline = self._text.readline
        while raw := readline(MOST_RECORD_BYTES + 1):
            self._held_bytes += len(raw)
            if self._held_bytes > MOST_RECORD_BYTES:
                line = self._line - len(self._held)
                raise ManifestInvalid(f"Line {line} has more than {MOST_RECORD_BYTES} bytes, or a quote in it is never closed.", line=line)
            if b"\0" in raw:
                raise ManifestInvalid(f"Line {self._line} holds U+0000, which no text of a row may.", line=self._line)
            self._at += len(raw)
            text = raw.removeprefix(BOM_UTF8) if self._line == 1 else raw
            self._held.append(text)
            try:
                decoded = text.decode()
            except UnicodeDecodeError as broken:
                raise ManifestInvalid(f"Line {self._line} is not UTF-8: {broken.reason}.", line=self._line) from None
            self._line += 1
            yield decoded


def _wrong(record: Record, name: str, text: str, wanted: str) -> ManifestInvalid:
    found = text if len(text) <= 200 else text[:200] + "…"
    return ManifestInvalid(
        f"Line {record.line}, column {name}: {found!r} is not {wanted}.", line=record.line, column=name, field=f"/{name}", found=found
    )
