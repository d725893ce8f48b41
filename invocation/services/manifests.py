"""Manifests: reading one through to plan its slices, and reading a slice's rows; a broken one is refused before anything starts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO

import orjson

from invocation.domain.batches import Row, Slice
from invocation.domain.endpoints import Endpoint, check_estimate
from invocation.domain.errors import InputInvalid, InvocationError, ManifestChanged, ManifestInvalid, TooManyItems
from invocation.domain.manifests import Form, Format, Packing, Place, Planned, Record, naming, row_on, sizes
from invocation.gateways import declared, schemas
from invocation.gateways.manifests import sources
from invocation.gateways.manifests.opening import Opened, Tap, Ways, opened
from invocation.gateways.manifests.repeats import Names, first_repeat
from invocation.models import Batch
from invocation.services.submission import check_input
from quota.domain.days import DayLimits
from quota.domain.errors import CanNeverFit

Beat = Callable[[int, int | None, int], None]
"""Told now and then how many rows were read, of how many, and how many bytes: what it raises ends the reading."""
BEAT_ROWS = 2_048
canonical = partial(orjson.dumps, option=orjson.OPT_SORT_KEYS)


def _silent(rows: int, of: int | None, read: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest as a batch names it: where it lies, what it is, and which column names its rows."""

    location: str
    form: Form
    row_id: str | None = None

    def ways(self, endpoint: Endpoint) -> Ways:
        return Ways(form=self.form, schema=endpoint.input_schema, by=naming(self.row_id, endpoint.input_schema))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every row must fit: the endpoint, and what the tenant's plan allows a day."""

    endpoint: Endpoint
    day: DayLimits
    shards: int


def plan(manifest: Manifest, terms: Terms, *, beat: Beat = _silent) -> Planned:
    """Read the manifest twice, some rows at a time, and cut it: once to count and hash it, once to check every row.

    Raises ManifestInvalid, naming the line, for the first row that could not be run or whose name occurred before, TooManyItems as
    soon as there are more rows than the endpoint takes, and ManifestChanged if somebody writes it meanwhile.
    """
    before = sources.stamp(manifest.location)
    rows, sha256 = _counted(manifest, terms, beat)
    found, names = _checked(manifest, terms, rows, beat)
    _must_differ(manifest, terms.endpoint, names)
    if sources.stamp(manifest.location) != before:
        raise ManifestChanged("The manifest was written while it was read.", field="manifest")
    return Planned(found, rows, sha256)


def read(batch: Batch, part: Slice, *, skip: int) -> Iterator[Row]:
    """Yield a slice's rows behind the first `skip`, once the whole slice was found to be what was planned.

    It reads files, and is not for the loop. Raises ManifestChanged for a file that is gone or of another length, or other rows.
    """
    endpoint, manifest = declared.book().by_label[batch.endpoint], of_batch(batch)
    ways = manifest.ways(endpoint)
    _must_be(manifest, part, ways, batch.manifest_bytes)
    place = Place(part.first, part.offset, part.inside)
    with opened(_opener(manifest), ways, place=place) as found:
        for record in islice(found.reader.records(), skip, part.rows):
            yield row_on(record, found.reader.value(record), ways.by, canonical)


def of_batch(batch: Batch) -> Manifest:
    """Return the manifest of a batch."""
    return Manifest(location=batch.manifest, form=Form(Format(batch.manifest_format), Packing(batch.manifest_packing)), row_id=batch.row_id)


def _must_be(manifest: Manifest, part: Slice, ways: Ways, length: int | None) -> None:
    """Raise ManifestChanged unless the slice's records are those that were planned."""
    try:
        if length is not None and sources.stamp(manifest.location).size != length:
            raise _changed(f"its length is no longer {length} bytes", part)
        with opened(_opener(manifest), ways, place=Place(part.first, part.offset, part.inside)) as found:
            digest = hashlib.sha256(found.head)
            for record in islice(found.reader.records(), part.rows):
                digest.update(record.raw)
    except FileNotFoundError:
        raise _changed("it is gone", part) from None
    except ManifestInvalid as broken:
        raise _changed(broken.detail, part) from None
    if digest.hexdigest() != part.sha256:
        raise _changed(f"the {part.rows} rows from line {part.first} are not those that were planned", part)


def _changed(what: str, part: Slice) -> ManifestChanged:
    return ManifestChanged(f"The manifest changed after it was planned: {what}.", shard=part.index, line=part.first)


def _rows(found: Opened, ways: Ways) -> Iterator[Row]:
    for record in found.reader.records():
        yield row_on(record, found.reader.value(record), ways.by, canonical)


def _opener(manifest: Manifest) -> Callable[[], BinaryIO]:
    return partial(sources.open_file, manifest.location)


def _counted(manifest: Manifest, terms: Terms, beat: Beat) -> tuple[int, str]:
    """Return how many rows there are, and the SHA-256 of the file."""
    limit, tap = terms.endpoint.limits.items, _tap(manifest)
    with opened(_opener(manifest), manifest.ways(terms.endpoint), tap=tap) as found:
        rows = found.rows
        if rows is None:
            rows = 0
            for rows, _ in enumerate(found.reader.records(), 1):
                if rows > limit:
                    break
                if not rows % BEAT_ROWS:
                    beat(rows, None, tap.bytes_read)
    if not rows:
        raise ManifestInvalid("The manifest has no rows.", line=1, field="manifest")
    if rows > limit:
        raise TooManyItems(f"The manifest has more than {limit} rows, which is all that {terms.endpoint.label} takes.", limit=limit)
    return rows, tap.sha256 if manifest.form.format is not Format.PARQUET else _hash_of(manifest)


def _tap(manifest: Manifest) -> Tap:
    return Tap(sources.open_file(manifest.location), is_hashed=manifest.form.format is not Format.PARQUET)


def _hash_of(manifest: Manifest) -> str:
    with Tap(sources.open_file(manifest.location), is_hashed=True) as tap:
        tap.read_to_end()
        return tap.sha256


def _checked(manifest: Manifest, terms: Terms, rows: int, beat: Beat) -> tuple[tuple[Slice, ...], Names]:
    """Check every row, and return the slices and the rows' names."""
    names, check, done, slices = Names(), _Check(terms), 0, []
    ways = manifest.ways(terms.endpoint)
    with opened(_opener(manifest), ways) as found:
        records, reader, by = found.reader.records(), found.reader, ways.by
        for size in sizes(rows, terms.shards):
            cut = _Cut(found, index=len(slices))
            for _ in range(size):
                record = next(records, None)
                if record is None:
                    raise ManifestChanged("The manifest lost rows while it was read.", field="manifest")
                cut.take(record)
                row = row_on(record, reader.value(record), by, canonical)
                check(row)
                names.add(row.id)
                done += 1
                if not done % BEAT_ROWS:
                    beat(done, rows, 0)
            slices.append(cut.slice)
    return tuple(slices), names


class _Cut:
    """A slice that is being cut."""

    def __init__(self, found: Opened, *, index: int) -> None:
        self._found, self._index = found, index
        self._sha256 = hashlib.sha256(found.head)
        self._place: Place | None = None
        self._rows = 0

    def take(self, record: Record) -> None:
        if self._place is None:
            self._place = self._found.place_of(record)
        self._sha256.update(record.raw)
        self._rows += 1

    @property
    def slice(self) -> Slice:
        place = self._place or Place()
        return Slice(self._index, place.line, self._rows, place.offset, place.inside, self._sha256.hexdigest())


class _Check:
    """submission.check_input for many rows: what room an estimate found is not looked for again for one that is no larger."""

    def __init__(self, terms: Terms) -> None:
        self._endpoint, self._day = terms.endpoint, terms.day
        self._fits = schemas.fits(terms.endpoint.input_schema)
        self._found_room = -1

    def __call__(self, row: Row) -> None:
        """Raises ManifestInvalid, naming the line."""
        try:
            tokens = check_estimate(self._endpoint, row.input).tokens if self._fits(row.input) else None
            if tokens is None or tokens > self._found_room:
                check_input(self._endpoint, row.input, day=self._day, at="")
                self._found_room = tokens or 0
        except InputInvalid as wrong:
            raise ManifestInvalid(f"Line {row.line}: {wrong.detail}", line=row.line, **wrong.facts) from None
        except CanNeverFit as never:
            raise ManifestInvalid(f"Line {row.line}: {never.sentence}", line=row.line, reason=never.code) from None
        except InvocationError as refused:
            raise ManifestInvalid(f"Line {row.line}: {refused.detail}", line=row.line, reason=refused.code) from None


def _must_differ(manifest: Manifest, endpoint: Endpoint, names: Names) -> None:
    """Raise ManifestInvalid, naming both lines, for a name that occurs twice: names of one hash are read again."""
    for alike in names.alike():
        with opened(_opener(manifest), manifest.ways(endpoint)) as found:
            again = first_repeat(((row.id, row.line) for row in _rows(found, manifest.ways(endpoint))), alike)
        if again:
            name, first, line = again
            raise ManifestInvalid(
                f"Line {line}: row {name!r} occurred before, on line {first}: each row has a name of its own. Rows without one are named"
                " by their content, so equal ones need a row_id.",
                line=line,
                first_line=first,
                field="row_id",
                found=name,
            )
