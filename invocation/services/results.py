"""Results: the outputs of completed jobs, in their row or, where they are large, whole in the object store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from agents.domain.errors import OutputInvalid
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import TERMINAL, Fence
from invocation.gateways import objects, statements
from invocation.models import Job, Result, StoredResult

KEEP = """
INSERT INTO invocation_result (job_id, output, location, size, sha256, at)
SELECT job_id, output, location, size, sha256, %(at)s::timestamptz
FROM unnest(%(ids)s::uuid[], %(outputs)s::jsonb[], %(locations)s::text[], %(sizes)s::bigint[], %(hashes)s::text[])
    AS kept (job_id, output, location, size, sha256)
"""

# Noted only by the attempt that holds the job; a second try of the same attempt writes the same file.
NOTE = """
INSERT INTO invocation_storedresult (tenant_id, job_id, attempt, location, is_named, at)
SELECT tenant_id, id, attempt, %s, FALSE, %s FROM invocation_job WHERE id = %s AND attempt = %s AND owner = %s
ON CONFLICT (job_id, attempt) DO UPDATE SET at = excluded.at
"""


class OutputTooLarge(OutputInvalid):
    """The output is larger than any result may be. Nothing of it was kept."""

    code = "output_too_large"
    remedy = "Write large data to a store of your own and answer with its address."


class Kept(NamedTuple):
    """An output as its row keeps it: the JSON itself, or the place, size and hash of its file in the tenant's part of the store."""

    output: str | None
    size: int
    location: str = ""
    sha256: str = ""


def check_size(output: Mapping[str, Any]) -> None:
    """Return if the output can be kept. Raises OutputTooLarge, and OutputInvalid for a number that no JSON here holds."""
    try:
        size = len(orjson.dumps(output))
    except TypeError as unfit:
        raise OutputInvalid(f"The output cannot be kept as JSON: {unfit}.") from None
    if size > settings.RESULT_MAX_BYTES:
        raise OutputTooLarge(f"The output has {size} bytes; a result has at most {settings.RESULT_MAX_BYTES}.")


def written(output: Mapping[str, Any]) -> bytes:
    return orjson.dumps(output)


def is_large(content: bytes) -> bool:
    """Say whether these bytes go to the object store and not into a row."""
    return len(content) > settings.RESULT_INLINE_BYTES


def in_row(content: bytes) -> Kept:
    return Kept(content.decode(), len(content))


def stow(fence: Fence, tenant_id: UUID, content: bytes) -> Kept:
    """Write a large output whole to the object store, before the transaction that ends its job. Raises StaleMove.

    The file is noted first: if the attempt dies, or is fenced out, a sweep takes it away.
    """
    location = f"results/{fence.job_id}/{fence.attempt}.json"
    with connection.cursor() as cursor:
        cursor.execute(NOTE, [location, datetime.now(UTC), fence.job_id, fence.attempt, fence.owner])
        if not cursor.rowcount:
            raise StaleMove(f"Attempt {fence.attempt} no longer holds job {fence.job_id}.")
    objects.store_of(tenant_id).write_whole(location, content)
    return Kept(None, len(content), location, hashlib.sha256(content).hexdigest())


def keep(outputs: Sequence[tuple[UUID, Kept]], *, now: datetime) -> None:
    """Store the outputs of jobs that complete now; those in rows all by one statement. Joins the caller's transaction."""
    if outputs:
        given = {
            "ids": [job_id for job_id, _ in outputs],
            "outputs": [kept.output for _, kept in outputs],
            "locations": [kept.location for _, kept in outputs],
            "sizes": [kept.size for _, kept in outputs],
            "hashes": [kept.sha256 for _, kept in outputs],
        }
        statements.rows(KEEP, {**given, "at": now})
        _name([(job_id, kept.location) for job_id, kept in outputs if kept.location])


def drop(job_ids: Sequence[UUID]) -> None:
    """Forget these results; their files are orphans from now on. Joins the caller's transaction."""
    Result.objects.filter(job_id__in=job_ids).delete()
    StoredResult.objects.filter(job_id__in=job_ids).update(is_named=False)


def remove_orphans(*, before: datetime, most: int) -> int:
    """Remove up to `most` files, noted before the moment, that no result names and no attempt can name any more; return how many.

    The file goes first, then its note: a crash between the two leaves a note, whose file is looked for again.
    """
    found = list(_orphans().filter(at__lt=before)[:most])
    for note in found:
        objects.store_of(note.tenant_id).remove(note.location)
    StoredResult.objects.filter(pk__in=[note.pk for note in found]).delete()
    return len(found)


def remove_files_of(job_ids: Sequence[UUID]) -> None:
    """Remove at once the files of ended jobs whose results were dropped.

    Their notes stay for the sweep, which looks again when no attempt that was late can write any more.
    """
    for note in _orphans().filter(job_id__in=job_ids):
        objects.store_of(note.tenant_id).remove(note.location)


def _name(files: Sequence[tuple[UUID, str]]) -> None:
    for job_id, location in files:
        StoredResult.objects.filter(job_id=job_id, location=location).update(is_named=True)


def _orphans() -> QuerySet[StoredResult]:
    """A file is wanted while a result names it, or its attempt still holds the job and may finish."""
    running = Job.objects.filter(pk=OuterRef("job_id"), attempt=OuterRef("attempt")).exclude(state__in=TERMINAL)
    return StoredResult.objects.filter(~Exists(running), is_named=False).order_by("at")
