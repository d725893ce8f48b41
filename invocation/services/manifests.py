"""Manifests as batches name them, and reading a shard's rows; what was changed since it was planned is not run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO

import orjson

from invocation.domain.batches import Row, Slice
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import ManifestChanged, ManifestInvalid
from invocation.domain.manifests import Form, Format, Packing, Place, name_of, naming
from invocation.gateways import declared
from invocation.gateways.manifests import sources
from invocation.gateways.manifests.opening import Opened, Ways, opened
from invocation.gateways.manifests.tap import Tap
from invocation.gateways.stores import Stamp, answering
from invocation.models import Batch

canonical = partial(orjson.dumps, option=orjson.OPT_SORT_KEYS)
"""Raises TypeError for what is nested too deeply, and for a whole number beyond 64 bits."""


def unkeepable(line: int, why: Exception) -> ManifestInvalid:
    """Return the refusal of a row that cannot be written as JSON."""
    return ManifestInvalid(f"Line {line} cannot be kept as JSON: {why}.", line=line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest: where it lies, what it is, and which column names its rows, where somebody said one."""

    location: str
    form: Form
    row_id: str | None = None

    def ways(self, endpoint: Endpoint) -> Ways:
        return Ways(form=self.form, schema=endpoint.input_schema, by=naming(self.row_id, endpoint.input_schema))

    def file(self) -> BinaryIO:
        """Raises FileNotFoundError."""
        return sources.open_file(self.location)

    def opened(self, ways: Ways, *, place: Place | None = None, tap: Tap | None = None) -> AbstractContextManager[Opened]:
        """Open it at a place. Raises FileNotFoundError, and ManifestInvalid for what is no such format."""
        return opened(self.file, ways, place=place, tap=tap)

    @property
    def length(self) -> int:
        """Its bytes. Raises ManifestInvalid if there is no such file, and StoreUnavailable."""
        try:
            with answering("manifest"):
                return sources.stamp(self.location).size
        except FileNotFoundError:
            name = self.location.rpartition("/")[2]
            raise ManifestInvalid(f"manifest: there is no file {name!r}.", field="manifest", found=name) from None


def of_batch(batch: Batch) -> Manifest:
    """Return the manifest of a batch."""
    form = Form(Format(batch.manifest_format), Packing(batch.manifest_packing))
    return Manifest(location=batch.manifest, form=form, row_id=batch.names_rows or None)


def must_be_there(batch: Batch) -> None:
    """Raise ManifestChanged if a batch's manifest is gone or has another length, and StoreUnavailable if nobody can say."""
    try:
        with answering("manifest"):
            size = sources.stamp(batch.manifest).size
    except FileNotFoundError:
        raise ManifestChanged(f"The manifest of batch {batch.pk} is gone.", field="manifest") from None
    if batch.manifest_bytes is not None and size != batch.manifest_bytes:
        raise ManifestChanged(
            f"The manifest of batch {batch.pk} has {size} bytes; it was planned with {batch.manifest_bytes}.", field="manifest"
        )


def read(batch: Batch, part: Slice, *, skip: int) -> Iterator[Row]:
    """Yield a slice's rows behind the first `skip`, once the whole slice was found to be what was planned.

    It reads files, and is not for the loop. Raises ManifestChanged for a file that is gone or of another length, or for other rows.
    """
    manifest = of_batch(batch)
    ways = manifest.ways(declared.book().by_label[batch.endpoint])
    place = Place(part.first, part.offset, part.inside)
    _must_be_planned(batch, part, ways)
    with manifest.opened(ways, place=place) as found:
        for record in islice(found.reader.records(), skip, part.rows):
            value = found.reader.value(record)
            yield Row(name_of(record.line, value, ways.by, canonical), value, record.line)


def stamp(batch: Batch, part: Slice) -> Stamp:
    """Return what is another once the manifest was written again. Raises ManifestChanged if it is gone."""
    try:
        return sources.stamp(batch.manifest)
    except FileNotFoundError:
        raise _changed("it is gone", part) from None


def written(part: Slice) -> ManifestChanged:
    """Return the refusal of a manifest that is written again and again while it is read."""
    return _changed("it is written while it is read", part)


def _must_be_planned(batch: Batch, part: Slice, ways: Ways) -> None:
    """Raise ManifestChanged unless the slice's records are those that were planned; one that was planned without a hash is believed."""
    manifest, length = of_batch(batch), batch.manifest_bytes
    try:
        if length is not None and sources.stamp(manifest.location).size != length:
            raise _changed(f"it no longer has {length} bytes", part)
        if part.sha256 and _hash_of(manifest, part, ways) != part.sha256:
            raise _changed(f"the {part.rows} rows from line {part.first} on are not those that were planned", part)
    except FileNotFoundError:
        raise _changed("it is gone", part) from None
    except ManifestInvalid as broken:
        raise _changed(broken.detail, part) from None


def _hash_of(manifest: Manifest, part: Slice, ways: Ways) -> str:
    with manifest.opened(ways, place=Place(part.first, part.offset, part.inside)) as found:
        digest = hashlib.sha256(found.head)
        for record in islice(found.reader.records(), part.rows):
            digest.update(record.raw)
    return digest.hexdigest()


def _changed(what: str, part: Slice) -> ManifestChanged:
    return ManifestChanged(f"The manifest changed after it was planned: {what}.", shard=part.index, line=part.first)
