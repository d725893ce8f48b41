"""Opens a manifest at any of its places, whatever its format: one port, `Opened`, for three readers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, cast

from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import Form, Format, Naming, Packing, Place, Record
from invocation.gateways.manifests.columns import Columns
from invocation.gateways.manifests.jsonl import Lines
from invocation.gateways.manifests.packing import Unpacked
from invocation.gateways.manifests.table import Table
from invocation.gateways.manifests.tap import BUFFER, Tap


class Reader(Protocol):
    """Yields a manifest's records from a place on, and says what each means."""

    def records(self) -> Iterator[Record]: ...

    def value(self, record: Record) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A manifest that is being read."""

    reader: Reader
    head: bytes
    """What every slice depends on beside its own records: the header of CSV."""
    rows: int | None
    """How many rows it has, where the format says so."""
    place_of: Callable[[Record], Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a manifest is read: its form, the endpoint's input schema and what names its rows."""

    form: Form
    schema: Mapping[str, Any] = field(repr=False)
    by: Naming


@contextmanager
def opened(open_file: Callable[[], BinaryIO], ways: Ways, *, place: Place | None = None, tap: Tap | None = None) -> Iterator[Opened]:
    """Open a manifest at a place, or at its first record. `tap` is one over the same file that is to see every byte.

    Raises ManifestInvalid for what is no such format, and whatever opening the file raises.
    """
    with tap or Tap(open_file()) as raw:
        at = place or Place()
        if ways.form.format is Format.PARQUET:
            yield _columns(raw, at)
        elif ways.form.format is Format.CSV:
            yield _table(raw, open_file, ways, place)
        else:
            text, frames = _text(raw, ways.form.packing, at)
            yield Opened(Lines(text, line=at.line, at=_begin(at, frames)), b"", None, _placing(frames))


def _columns(raw: Tap, at: Place) -> Opened:
    columns = Columns(raw, group=at.offset, inside=at.inside)

    def place_of(record: Record) -> Place:
        return Place(record.line, *columns.group_of(record.at))

    return Opened(columns, b"", columns.rows, place_of)


def _table(raw: Tap, open_file: Callable[[], BinaryIO], ways: Ways, place: Place | None) -> Opened:
    at = place or Place()
    text, frames = _text(raw, ways.form.packing, at)
    table = Table(text, line=at.line, at=_begin(at, frames))
    if place is None:
        table.header(ways.schema, ways.by.column)
    else:
        with Tap(open_file()) as again:
            first = Table(_text(again, ways.form.packing, Place())[0])
            first.header(ways.schema, ways.by.column)
        table.take(first.columns, first.head, ways.schema, ways.by.column)
    _must_have(table.columns, ways.by)
    return Opened(table, table.head, None, _placing(frames))


def _must_have(columns: tuple[str, ...], by: Naming) -> None:
    if by.is_asked and by.column not in columns:
        known = ", ".join(columns)
        raise ManifestInvalid(f"Line 1: there is no column {by.column!r}; there are {known}.", line=1, column=by.column, field="row_id")


def _text(raw: Tap, packing: Packing, at: Place) -> tuple[BinaryIO, Unpacked | None]:
    """Return the text from a place on, and the frames that it comes from where it is packed."""
    if packing is Packing.NONE:
        raw.seek(at.offset)
        return cast("BinaryIO", io.BufferedReader(raw, BUFFER)), None
    frames = Unpacked(cast("BinaryIO", io.BufferedReader(raw, BUFFER)), packing, start=at.offset, beat=raw.beat)
    text = cast("BinaryIO", io.BufferedReader(frames, BUFFER))
    left = at.inside
    while left and (piece := text.read(min(left, BUFFER))):
        left -= len(piece)
    return text, frames


def _begin(at: Place, frames: Unpacked | None) -> int:
    """Return the byte of the text that a place is: counted from the file's beginning, or from the first frame that was opened."""
    return at.offset if frames is None else at.inside


def _placing(frames: Unpacked | None) -> Callable[[Record], Place]:
    if frames is None:
        return lambda record: Place(record.line, record.at)
    return lambda record: Place(record.line, *frames.frame_of(record.at))
