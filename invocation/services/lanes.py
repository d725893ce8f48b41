"""Lanes: the jobs of one ordering key run one after another; only the first of a lane may be admitted.

Whoever joins a lane and whoever leaves it takes the lane's lock, before that of any job and for the rest of
its transaction: so exactly one open job of a lane is not behind, and admission never looks at the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import connection

from invocation.services.lifecycle import Moved

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(lane, 7)) FROM unnest(%s::text[]) AS lane"

AHEAD = """
SELECT id FROM invocation_job WHERE tenant_id = %s AND ordering_key = %s AND state NOT IN ('completed', 'failed', 'cancelled') ORDER BY id
LIMIT %s
"""

# The oldest open job of a lane that has no first goes first. Nothing is told: whoever ended the one before wakes the dispatcher.
PROMOTE = """
UPDATE invocation_job AS job SET is_behind = FALSE
FROM unnest(%s::uuid[], %s::text[]) AS lane (tenant_id, ordering_key)
CROSS JOIN LATERAL (
    SELECT first.id FROM invocation_job AS first
    WHERE first.tenant_id = lane.tenant_id AND first.ordering_key = lane.ordering_key
      AND first.state NOT IN ('completed', 'failed', 'cancelled')
    ORDER BY first.id LIMIT 1
) AS head
WHERE job.id = head.id AND job.is_behind AND NOT EXISTS (
    SELECT FROM invocation_job AS ahead
    WHERE ahead.tenant_id = lane.tenant_id AND ahead.ordering_key = lane.ordering_key
      AND ahead.state NOT IN ('completed', 'failed', 'cancelled') AND NOT ahead.is_behind)
"""


def enter(tenant_id: UUID, ordering_key: str, *, most: int | None = None) -> list[UUID]:
    """Lock the lane and return its open jobs, or the first `most` of them, in order. Joins the caller's transaction."""
    lock([(tenant_id, ordering_key)])
    return open_jobs(tenant_id, ordering_key, most=most)


def lock(lanes: Iterable[tuple[UUID, str]]) -> None:
    """Lock these lanes, always in the same order. Joins the caller's transaction, which has locked no job yet."""
    named = [f"{tenant_id} {ordering_key}" for tenant_id, ordering_key in sorted(set(lanes))]
    if named:
        with connection.cursor() as cursor:
            cursor.execute(LOCK, [named])


def open_jobs(tenant_id: UUID, ordering_key: str, *, most: int | None = None) -> list[UUID]:
    """Return the lane's open jobs as they are now, or the first `most` of them, in order."""
    with connection.cursor() as cursor:
        cursor.execute(AHEAD, [tenant_id, ordering_key, most])
        return [row[0] for row in cursor.fetchall()]


def promote(ended: Sequence[Moved]) -> None:
    """Let the next of each lane go first. Joins the caller's transaction, which has the lanes' locks and in which these have ended."""
    left = sorted({(job.tenant_id, job.ordering_key) for job in ended if job.ordering_key is not None})
    if left:
        with connection.cursor() as cursor:
            cursor.execute(PROMOTE, [[tenant for tenant, _ in left], [key for _, key in left]])
