"""What a manifest may be: its format and packing, the row on a record, and where a shard's part of it begins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from agents.domain.values import Json
from invocation.domain.batches import Slice
from invocation.domain.errors import ManifestInvalid

MOST_RECORD_BYTES = 1_048_576
MOST_BLANK_LINES = 1_000_000
"""One behind the other: a few bytes, packed, can hold any number."""
MOST_OF_AN_ID = 200
ROW_ID = "row_id"


class Format(StrEnum):
    """How a manifest says its rows."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class Packing(StrEnum):
    """How its bytes are compressed."""

    NONE = ""
    GZIP = "gz"
    ZSTD = "zst"


EXTENSIONS: Mapping[str, Format] = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
}


@dataclass(frozen=True, slots=True)
class Form:
    """A manifest's format and packing."""

    format: Format
    packing: Packing = Packing.NONE


def form_of(name: str, wanted: str = "") -> Form:
    """Return what a file is by the format that was asked for, else by its extension. Raises ManifestInvalid."""
    stem, packing = _unpacked(name.lower())
    found = Format(wanted) if wanted else next((form for ending, form in EXTENSIONS.items() if stem.endswith(ending)), None)
    if found is None:
        known = ", ".join(EXTENSIONS)
        raise ManifestInvalid(
            f"manifest: {name!r} has none of the extensions {known} (then .gz or .zst): rename it, or say its format.",
            field="manifest",
            found=name,
        )
    if found is Format.PARQUET and packing:
        raise ManifestInvalid(
            f"manifest: {name!r} is Parquet inside {packing}: unpack it; Parquet is compressed in itself.", field="manifest", found=name
        )
    return Form(found, packing)


def _unpacked(name: str) -> tuple[str, Packing]:
    stem, dot, ending = name.rpartition(".")
    if dot and ending in {Packing.GZIP, Packing.ZSTD}:
        return stem, Packing(ending)
    return name, Packing.NONE


class Record(NamedTuple):
    """One record of a manifest: its line (Parquet: its row) from 1, where it begins, its bytes, and what a format split already."""

    line: int
    at: int
    raw: bytes
    cells: object = None


def too_blank(line: int) -> ManifestInvalid:
    return ManifestInvalid(f"Line {line} is one of more than {MOST_BLANK_LINES} blank lines, one behind the other.", line=line)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader begins. Of plain text `offset` is a byte; of packed text a frame's first byte, of Parquet a row group: then
    `inside` counts the bytes, or rows, from there.
    """

    line: int = 1
    offset: int = 0
    inside: int = 0


@dataclass(frozen=True, slots=True)
class Naming:
    """Which field names a row. One that the endpoint's input has as well stays in the input."""

    column: str = ROW_ID
    is_asked: bool = False
    """Somebody named the column: a row without it is refused, where else its name is derived."""
    is_input: bool = False


def naming(column: str | None, schema: Mapping[str, Json]) -> Naming:
    properties = schema.get("properties")
    name = column or ROW_ID
    return Naming(name, column is not None, isinstance(properties, Mapping) and name in properties)


def name_of(line: int, value: dict[str, Json], by: Naming, canonical: Callable[[Json], bytes]) -> str:
    """Return what the row on a line is called, and leave in `value` its input; `canonical` writes JSON with sorted keys.

    Without a name a row is called by its content: equal rows have equal names, and are refused as duplicates. Raises ManifestInvalid.
    """
    column = by.column
    if column not in value:
        if by.is_asked:
            raise _nameless(line, column, f"it has no {column}, which names the rows of this batch")
        return hashlib.sha256(canonical(value)).hexdigest()[:32]
    name = value[column] if by.is_input else value.pop(column)
    if type(name) is int:
        name = str(name)
    if not isinstance(name, str) or not 1 <= len(name) <= MOST_OF_AN_ID or not name.isprintable():
        raise _nameless(line, column, f"{column} is a whole number or a string of 1 to {MOST_OF_AN_ID} printable characters")
    return name


def _nameless(line: int, column: str, what: str) -> ManifestInvalid:
    return ManifestInvalid(f"Line {line}: {what}.", line=line, field=f"/{column}", column=column)


def sizes(rows: int, shards: int) -> Iterator[int]:
    """Say how many rows each of at most `shards` slices has: they differ by one at most."""
    count = min(shards, rows)
    size, rest = divmod(rows, count) if count else (0, 0)
    for index in range(count):
        yield size + (index < rest)


@dataclass(frozen=True, slots=True)
class Planned:
    """A manifest every row of which can be run: its slices, how many rows they have, and the file's hash and length."""

    slices: tuple[Slice, ...]
    rows: int
    sha256: str
    length: int
