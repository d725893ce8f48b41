"""Cutting a manifest into slices: it is read twice, some rows at a time, and a broken one is refused by its line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from agents.domain.values import Json
from invocation.domain.batches import Slice
from invocation.domain.endpoints import Endpoint, check_estimate
from invocation.domain.errors import InputInvalid, InvocationError, ManifestChanged, ManifestInvalid, TooManyItems
from invocation.domain.manifests import MOST_OF_AN_ID, Format, Place, Planned, Record, name_of, sizes
from invocation.gateways import schemas
from invocation.gateways.manifests import sources
from invocation.gateways.manifests.opening import Opened, Ways
from invocation.gateways.manifests.repeats import Names, first_repeat
from invocation.gateways.manifests.tap import Tap
from invocation.services.manifests import Manifest, canonical, unkeepable
from invocation.services.submission import check_input
from quota.domain.days import DayLimits
from quota.domain.errors import CanNeverFit

Beat = Callable[[int, int | None, int], None]
"""Told how many rows were read, of how many, and how many bytes: at every buffer and every few rows. What it raises ends the reading."""
BEAT_ROWS = 64
UNSTORABLE = re.compile(rb"\\u(?:0000|d[89a-f])", re.IGNORECASE)
"""How JSON escapes U+0000 and the halves of surrogate pairs, whole pairs too."""


def _silent(rows: int, of: int | None, read: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a manifest is cut for: the endpoint whose input every row must be, what the tenant's plan allows a day, and how many shards."""

    endpoint: Endpoint
    day: DayLimits
    shards: int


def cut(manifest: Manifest, terms: Terms, *, beat: Beat = _silent) -> Planned:
    """Read the manifest once to count and hash it, and once to check every row and cut it.

    Raises ManifestInvalid, naming the line, for the first row that could not be run, or whose name occurred before; TooManyItems as
    soon as there are more rows than the endpoint takes; ManifestChanged if somebody writes it meanwhile; FileNotFoundError.
    """
    before = sources.stamp(manifest.location)
    rows, sha256 = _counted(manifest, terms, beat)
    slices, names = _cut(manifest, terms, rows, beat)
    _must_differ(manifest, manifest.ways(terms.endpoint), names, _Progress(beat, of=rows))
    if sources.stamp(manifest.location) != before:
        raise _written()
    return Planned(slices, rows, sha256, before.size)


class _Progress:
    """How far a reading is: told at every buffer of its file, which comes to `read`, and every few rows, which come to `at`."""

    def __init__(self, beat: Beat, *, of: int | None = None) -> None:
        self._beat, self._of = beat, of
        self._rows = self._read = 0

    def read(self, count: int) -> None:
        self._read = count
        self._beat(self._rows, self._of, self._read)

    def at(self, rows: int) -> None:
        self._rows = rows
        self._beat(self._rows, self._of, self._read)


def _counted(manifest: Manifest, terms: Terms, beat: Beat) -> tuple[int, str]:
    """Return how many rows there are, and the SHA-256 of the file."""
    limit, progress = terms.endpoint.limits.items, _Progress(beat)
    is_in_order = manifest.form.format is not Format.PARQUET
    tap = Tap(manifest.file(), is_hashed=is_in_order, heard=progress.read)
    with manifest.opened(manifest.ways(terms.endpoint), tap=tap) as found:
        rows = found.rows if found.rows is not None else _count(found, limit, progress)
    if not rows:
        raise ManifestInvalid("The manifest has no rows.", line=1, field="manifest")
    if rows > limit:
        raise TooManyItems(f"The manifest has more than {limit} rows, which is all that {terms.endpoint.label} takes.", limit=limit)
    return rows, tap.sha256 if is_in_order else _hash_of(manifest, progress)


def _count(found: Opened, limit: int, progress: _Progress) -> int:
    """Count records, to one more than the limit and no further."""
    rows = 0
    for rows, _ in enumerate(islice(found.reader.records(), limit + 1), 1):
        if not rows % BEAT_ROWS:
            progress.at(rows)
    return rows


def _hash_of(manifest: Manifest, progress: _Progress) -> str:
    with Tap(manifest.file(), is_hashed=True, heard=progress.read) as tap:
        tap.read_to_end()
        return tap.sha256


def _cut(manifest: Manifest, terms: Terms, rows: int, beat: Beat) -> tuple[tuple[Slice, ...], Names]:
    """Check every row, and return the slices and the rows' names."""
    ways, progress = manifest.ways(terms.endpoint), _Progress(beat, of=rows)
    with manifest.opened(ways, tap=Tap(manifest.file(), heard=progress.read)) as found:
        taken = _Taken(found, _Check(terms), ways, progress)
        slices = tuple(taken.slice(index, size) for index, size in enumerate(sizes(rows, terms.shards)))
        if taken.is_more:
            raise _written()
    return slices, taken.names


class _Taken:
    """Takes records from a manifest that is open, slice by slice."""

    def __init__(self, found: Opened, check: _Check, ways: Ways, progress: _Progress) -> None:
        self._found, self._check, self._by, self._progress = found, check, ways.by, progress
        self._records = found.reader.records()
        self._done = 0
        self.names = Names()

    def slice(self, index: int, rows: int) -> Slice:
        """Take the next rows for a slice. Raises ManifestInvalid, naming the line."""
        place, digest = Place(), hashlib.sha256(self._found.head)
        value_of, check, add, by = self._found.reader.value, self._check, self.names.add, self._by
        taken = 0
        for taken, record in enumerate(islice(self._records, rows), 1):
            if taken == 1:
                place = self._found.place_of(record)
            digest.update(record.raw)
            value = value_of(record)
            _must_be_storable(record, value)
            _must_be_sayable(record, value)
            add(name_of(record.line, value, by, canonical))
            check(record, value)
            if not (self._done + taken) % BEAT_ROWS:
                self._progress.at(self._done + taken)
        if taken < rows:
            raise _written()
        self._done += rows
        return Slice(index, place.line, rows, place.offset, place.inside, digest.hexdigest())

    @property
    def is_more(self) -> bool:
        """Whether there are more rows than were counted."""
        return next(self._records, None) is not None


def _must_be_storable(record: Record, value: Mapping[str, Json]) -> None:
    """Raise ManifestInvalid, naming the line, for text that PostgreSQL cannot keep; where none is escaped there is none."""
    if b"\\u" in record.raw and UNSTORABLE.search(record.raw):
        line = record.line
        try:
            schemas.check_storable(value)
        except schemas.Unfit as unfit:
            raise ManifestInvalid(f"Line {line}: {unfit}.", line=line, field=unfit.pointer, found=unfit.found[:MOST_OF_AN_ID]) from None
        except RecursionError:
            raise ManifestInvalid(f"Line {line} is nested too deeply.", line=line) from None


def _must_be_sayable(record: Record, value: Mapping[str, Json]) -> None:
    """Raise ManifestInvalid, naming the line, for what can be read and not written: what finished of it could never be kept."""
    try:
        canonical(value)
    except TypeError as unsayable:
        raise unkeepable(record.line, unsayable) from None


class _Check:
    """submission.check_input for many rows: what room an estimate found is not looked for again for one that is no larger."""

    def __init__(self, terms: Terms) -> None:
        self._endpoint, self._day = terms.endpoint, terms.day
        self._fits = schemas.fits(terms.endpoint.input_schema)
        self._found_room = -1

    def __call__(self, record: Record, value: Mapping[str, Json]) -> None:
        """Raises ManifestInvalid, naming the line."""
        line = record.line
        try:
            tokens = check_estimate(self._endpoint, value).tokens if self._fits(value) else None
            if tokens is None or tokens > self._found_room:
                check_input(self._endpoint, value, day=self._day, at="")
                self._found_room = tokens or 0
        except InputInvalid as wrong:
            raise ManifestInvalid(f"Line {line}: {wrong.detail}", line=line, **wrong.facts) from None
        except CanNeverFit as never:
            raise ManifestInvalid(f"Line {line}: {never.sentence}", line=line, reason=never.code) from None
        except InvocationError as refused:
            raise ManifestInvalid(f"Line {line}: {refused.detail}", line=line, reason=refused.code) from None


def _must_differ(manifest: Manifest, ways: Ways, names: Names, progress: _Progress) -> None:
    """Raise ManifestInvalid, naming both lines, for a name that occurs twice: names of one hash are read again."""
    for alike in names.alike():
        with manifest.opened(ways, tap=Tap(manifest.file(), heard=progress.read)) as found:
            again = first_repeat(_names(found, ways, progress), alike)
        if again:
            name, first, line = again
            raise ManifestInvalid(
                f"Line {line}: row {name!r} occurred before, on line {first}: each row has a name of its own. Rows without one are named"
                " by their content: give equal ones a row_id.",
                line=line,
                first_line=first,
                field=f"/{ways.by.column}",
                found=name,
            )


def _names(found: Opened, ways: Ways, progress: _Progress) -> Iterator[tuple[str, int]]:
    for rows, record in enumerate(found.reader.records(), 1):
        if not rows % BEAT_ROWS:
            progress.at(rows)
        yield name_of(record.line, found.reader.value(record), ways.by, canonical), record.line


def _written() -> ManifestChanged:
    return ManifestChanged("The manifest was written while it was read.", field="manifest")
