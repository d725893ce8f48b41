"""Contexts: what an answer belongs to, how far its consumer has moved on, and the newest answer that came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from invocation.domain.contexts import Context, Relevance
from invocation.domain.errors import ContextMovedOn
from invocation.domain.jobs import JobState
from invocation.models import ContextRecord
from invocation.services.lifecycle import Moved

# Each of the three says where a version may go, and is one statement: of two at once none is lost.
ASK = """
INSERT INTO invocation_contextrecord AS context (tenant_id, key, version, touched_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (tenant_id, key) DO UPDATE
SET version = greatest(context.version, excluded.version), touched_at = greatest(context.touched_at, excluded.touched_at)
RETURNING version
"""
RAISE = """
INSERT INTO invocation_contextrecord AS context (tenant_id, key, version, touched_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (tenant_id, key) DO UPDATE SET version = excluded.version, touched_at = excluded.touched_at
WHERE context.version <= excluded.version
RETURNING version
"""
NEXT = """
INSERT INTO invocation_contextrecord AS context (tenant_id, key, version, touched_at) VALUES (%s, %s, 1, %s)
ON CONFLICT (tenant_id, key) DO UPDATE SET version = context.version + 1, touched_at = excluded.touched_at
RETURNING version
"""

LOCK = """
SELECT context.id FROM invocation_contextrecord AS context
JOIN unnest(%(tenants)s::uuid[], %(keys)s::text[]) AS named (tenant_id, key) USING (tenant_id, key)
ORDER BY tenant_id, key FOR NO KEY UPDATE OF context
"""
# The rows are locked: what is read of a context here is what is written over.
SETTLE = """
UPDATE invocation_contextrecord AS context
SET answer_job_id = best.job_id, answer_version = best.version, answered_at = %(now)s, touched_at = %(now)s,
    version = greatest(context.version, best.version)
FROM (
    SELECT DISTINCT ON (there.id) there.id, job.id AS job_id, job.context_version AS version
    FROM invocation_job AS job
    JOIN invocation_contextrecord AS there ON there.tenant_id = job.tenant_id AND there.key = job.context_key
    WHERE job.id = ANY(%(ids)s)
      AND job.context_version >= coalesce(there.answer_version, 0)
      AND (job.relevance <> %(withhold)s OR job.context_version >= there.version)
    ORDER BY there.id, job.context_version DESC, job.id DESC
) AS best
WHERE context.id = best.id
"""


def asked(tenant_id: UUID, key: str, *, version: int | None, policy: Relevance, now: datetime) -> Context:
    """Return the context that a job names, in the version that it names or the current one.

    A context that nobody named before begins here; a version above the current one moves the
    context on, whatever becomes of the submission.
    """
    current = _one(ASK, [tenant_id, key, version or 1, now])
    return Context(key, version or current, policy)


def bump(tenant_id: UUID, key: str, *, now: datetime) -> int:
    """Move the context on by one and return its version; a new one begins at 1."""
    return int(_one(NEXT, [tenant_id, key, now]))


def move_to(tenant_id: UUID, key: str, *, version: int, now: datetime) -> int:
    """Move the context to a version; again to the same changes nothing. Raises ContextMovedOn: it never goes back."""
    reached = _one(RAISE, [tenant_id, key, version, now])
    if reached is None:
        current = ContextRecord.objects.values_list("version", flat=True).get(tenant_id=tenant_id, key=key)
        raise ContextMovedOn(f"Context {key!r} is at version {current} already.", field="/version", found=version, current_version=current)
    return int(reached)


def settle(ended: Sequence[Moved], *, now: datetime) -> None:
    """Keep a completed job's answer as its context's, unless one of a newer version is there. Joins the caller's transaction.

    A failure is no answer. An answer that is to be withheld when it comes too late is not kept here then.
    """
    answered = [job for job in ended if job.context_key is not None and job.state == JobState.COMPLETED]
    if not answered:
        return
    with connection.cursor() as cursor:
        cursor.execute(LOCK, {"tenants": [job.tenant_id for job in answered], "keys": [job.context_key for job in answered]})
        cursor.execute(SETTLE, {"ids": [job.id for job in answered], "now": now, "withhold": str(Relevance.WITHHOLD)})


def _one(statement: str, given: Sequence[Any]) -> Any:
    """Return the statement's one figure, or None if it changed nothing."""
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        found = cursor.fetchone()
    return found and found[0]
