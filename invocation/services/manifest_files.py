"""Files of manifests: where a tenant's lie, keeping one that is uploaded or came with a request, and taking one away."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

import orjson
from django.conf import settings

from invocation.domain.batches import BATCH_ENDED
from invocation.domain.errors import InputInvalid, ManifestInUse, ManifestInvalid, ManifestTooLarge, NotFound
from invocation.domain.ids import new_id
from invocation.domain.locations import plain
from invocation.domain.manifests import Form, Format, form_of
from invocation.gateways import objects
from invocation.gateways.stores import S3_SCHEME, BadPath, answering, relative, store_at
from invocation.models import Batch
from invocation.selectors import grants
from invocation.services.manifest_room import FOLDER, room_of
from invocation.services.manifests import Manifest, unkeepable

STAGED = f"{FOLDER}/staged"
"""No upload has a name in there."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Kept:
    """An uploaded manifest: what a batch is opened over, its length, and its hash where it was just written."""

    name: str
    path: str
    bytes: int
    sha256: str = ""


def located(tenant_id: UUID, path: str, *, form: str = "", row_id: str | None = None) -> Manifest:
    """Return a manifest by its path in the tenant's part of the object store, or by an `s3://` URI that was granted to the tenant.

    Whether there is such a file is not looked for. Raises ManifestInvalid for another place.
    """
    locate = _granted if path.startswith(S3_SCHEME) else _own
    try:
        return Manifest(location=locate(tenant_id, path), form=form_of(path.rstrip("/"), form), row_id=row_id)
    except BadPath as bad:
        raise ManifestInvalid(f"manifest: {bad}", field="manifest", found=path) from None


def _own(tenant_id: UUID, path: str) -> str:
    return objects.store_of(tenant_id).at(path)


def _granted(tenant_id: UUID, uri: str) -> str:
    """Return the URI in its plain form, which is the one that was granted."""
    place = plain(uri)
    if place is None or not grants.granted(tenant_id, place):
        raise ManifestInvalid(f"manifest: {uri} was not granted to you: ask an administrator for it.", field="manifest", found=uri)
    bucket, _, key = place.removeprefix(S3_SCHEME).partition("/")
    if not key:
        raise ManifestInvalid(f"manifest: {uri} names no file.", field="manifest", found=uri)
    return f"{S3_SCHEME}{bucket}/{relative(key)}"


def stage(tenant_id: UUID, rows: Iterable[Mapping[str, Any]], *, row_id: str | None = None) -> Manifest:
    """Store rows that came with a request as a manifest of the tenant's.

    Raises ManifestInvalid for one that cannot be kept, naming which it is from 1, ManifestsFull and StoreUnavailable.
    """
    content = b"".join(_line(number, row) for number, row in enumerate(rows, 1))
    room_of(tenant_id).must_hold(len(content))
    path, store = f"{STAGED}/{new_id()}.jsonl", objects.store_of(tenant_id)
    with answering("manifest"):
        store.write_whole(path, content)
    return Manifest(location=store.at(path), form=Form(Format.JSONL), row_id=row_id)


def _line(number: int, row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row) + b"\n"
    except TypeError as unsayable:
        raise unkeepable(number, unsayable) from None


@contextmanager
def copying(tenant_id: UUID, form: Form, *, row_id: str | None = None) -> Iterator[tuple[Manifest, BinaryIO]]:
    """Let an operator write a manifest of the tenant's, however full that is; it is there, whole, once the block has ended."""
    ending = ".".join(["", *filter(None, (form.format, form.packing))])
    path, store = f"{STAGED}/{new_id()}{ending}", objects.store_of(tenant_id)
    with store.open_whole(path) as file:
        yield Manifest(location=store.at(path), form=form, row_id=row_id), file


def drop(manifest: Manifest) -> None:
    """Take a staged manifest away. Where the store does not answer, the sweep does it."""
    folder, _, name = manifest.location.rpartition("/")
    with suppress(OSError):
        store_at(folder).remove(name)


def put(tenant_id: UUID, name: str, content: BinaryIO) -> Kept:
    """Keep an upload, piece by piece; it appears whole, in the place of an earlier one.

    Raises InputInvalid for a name that says no format, ManifestInUse while a batch reads the earlier one, ManifestTooLarge,
    ManifestsFull and StoreUnavailable.
    """
    path, store, most = _path(name), objects.store_of(tenant_id), settings.MANIFEST_MAX_BYTES
    _must_be_free(store.at(path), name)
    room = room_of(tenant_id, replacing=path)
    digest, length = hashlib.sha256(), 0
    with answering("manifest"), store.open_whole(path) as file:
        while piece := content.read(PIECE):
            length += len(piece)
            if length > most:
                raise ManifestTooLarge(f"The manifest has more than {most} bytes.", limit=most)
            room.must_hold(length)
            digest.update(piece)
            file.write(piece)
    return Kept(name, path, length, digest.hexdigest())


def kept(tenant_id: UUID, name: str) -> Kept:
    """Return an upload. Raises NotFound and StoreUnavailable."""
    path = _path(name)
    try:
        with answering("manifest"):
            return Kept(name, path, objects.store_of(tenant_id).stamp(path).size)
    except FileNotFoundError:
        raise NotFound(f"There is no manifest {name!r}.", field="name", found=name) from None


def remove(tenant_id: UUID, name: str) -> None:
    """Take an upload away. Raises NotFound, StoreUnavailable, and ManifestInUse while a batch reads it."""
    found, store = kept(tenant_id, name), objects.store_of(tenant_id)
    _must_be_free(store.at(found.path), name)
    with answering("manifest"):
        store.remove(found.path)


def _must_be_free(location: str, name: str) -> None:
    reader = Batch.objects.filter(manifest=location).exclude(state__in=BATCH_ENDED).values_list("pk", flat=True).first()
    if reader:
        raise ManifestInUse(f"Batch {reader} has not ended and reads {name!r}: give this one another name.", batch_id=str(reader))


def _path(name: str) -> str:
    """Raises InputInvalid."""
    if not NAME.fullmatch(name):
        raise InputInvalid("name: letters, digits, dots, hyphens and underscores, at most 120.", field="name", found=name)
    try:
        form_of(name)
    except ManifestInvalid as wrong:
        raise InputInvalid(f"name: {wrong.detail.removeprefix('manifest: ')}", field="name", found=name) from None
    return f"{FOLDER}/{name}"
