"""Manifests: where a tenant's lists of rows lie, reading them, and refusing a broken one before anything starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from invocation.domain.batches import Row, Slice, parse_row
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import InputInvalid, InvocationError, ManifestInvalid
from invocation.domain.ids import new_id
from invocation.gateways import objects
from invocation.services.submission import check_input
from quota.domain.days import DayLimits
from quota.domain.errors import CanNeverFit

MOST_LINE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Checked:
    """A manifest every line of which can be run: where each row begins, and the hash of the whole."""

    offsets: list[int]
    sha256: str


def located(tenant_id: UUID, path: str) -> Path:
    """Return a manifest in the tenant's part of the object store. Raises ManifestInvalid if it is not there."""
    try:
        found = objects.inside(tenant_id, path)
    except objects.BadPath as bad:
        raise ManifestInvalid(f"manifest: {bad}", field="manifest", found=path) from None
    if not found.is_file():
        raise ManifestInvalid(f"manifest: there is no file {path!r} in your part of the object store.", field="manifest", found=path)
    return found


def stage(tenant_id: UUID, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Store rows that came with a request as a manifest of the tenant's and return where it lies."""
    path = objects.inside(tenant_id, f"manifests/{new_id()}.jsonl")
    objects.write_whole(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def check(path: Path, endpoint: Endpoint, *, day: DayLimits) -> Checked:
    """Read the manifest once; `day` is what the tenant's plan allows a day.

    Raises ManifestInvalid, naming the line, for the first row that could not be run.
    """
    offsets: list[int] = []
    seen: set[str] = set()
    digest = hashlib.sha256()
    for offset, line, number in _lines(path):
        digest.update(line)
        row = parse_row(line, number)
        _check_row(row, endpoint, seen, day)
        offsets.append(offset)
    if not offsets:
        raise ManifestInvalid("The manifest has no rows.", line=1, field="manifest")
    return Checked(offsets, digest.hexdigest())


def read(path: Path, part: Slice, *, skip: int) -> Iterator[Row]:
    """Yield a slice's rows behind the first `skip`."""
    for count, (_, line, number) in enumerate(_lines(path, offset=part.offset, first=part.first)):
        if count >= part.rows:
            return
        if count >= skip:
            yield parse_row(line, number)


def _check_row(row: Row, endpoint: Endpoint, seen: set[str], day: DayLimits) -> None:
    if row.id in seen:
        raise ManifestInvalid(
            f"Line {row.line}: row {row.id!r} occurred before: row ids are unique.", line=row.line, field="row_id", found=row.id
        )
    seen.add(row.id)
    try:
        check_input(endpoint, row.input, day=day, at="")
    except InputInvalid as wrong:
        raise ManifestInvalid(f"Line {row.line}: {wrong.detail}", line=row.line, **wrong.facts) from None
    except CanNeverFit as never:
        raise ManifestInvalid(f"Line {row.line}: {never.sentence}", line=row.line, reason=never.code) from None
    except InvocationError as refused:
        raise ManifestInvalid(f"Line {row.line}: {refused.detail}", line=row.line, reason=refused.code) from None


def _lines(path: Path, *, offset: int = 0, first: int = 1) -> Iterator[tuple[int, bytes, int]]:
    """Yield (byte offset, line, line number); blank lines count as lines but not as rows."""
    with path.open("rb") as file:
        file.seek(offset)
        number = first
        while line := file.readline(MOST_LINE_BYTES + 1):
            if len(line) > MOST_LINE_BYTES:
                raise ManifestInvalid(f"Line {number} has more than {MOST_LINE_BYTES} bytes.", line=number)
            if line.strip():
                yield offset, line, number
            offset += len(line)
            number += 1
