"""The one writer of a job's state: every move is one guarded statement that also writes the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction

from invocation.domain.errors import StaleMove
from invocation.domain.jobs import EDGES, Fence, Move

# What each move sets beside the state. `given` is the caller's row, `now` the moment of the move.
FREE = "owner = NULL"
DONE = "owner = NULL, finished_at = now.at, question = NULL, due_at = NULL"
READY = "owner = NULL, queued_at = now.at, question = NULL, due_at = NULL, dispatched_at = NULL"

FACTS: Mapping[Move, str] = MappingProxyType(
    {
        Move.ADMIT: "dispatched_at = now.at, reason = ''",
        Move.CLAIM: "attempt = job.attempt + 1, owner = given.owner, started_at = coalesce(job.started_at, now.at), reason = ''",
        Move.COMPLETE: DONE + ", reason = '', error = NULL",
        Move.RETRY: FREE + ", failures = job.failures + 1, due_at = given.due_at, error = given.error, reason = 'retry'",
        Move.WAKE: READY + ", reason = job.reason",
        # Charged to the job (1), or to the worker that was lost under it (0).
        Move.BURY: DONE
        + ", failures = job.failures + given.charged, losses = job.losses + 1 - given.charged"
        + ", error = given.error, cause = given.cause, reason = given.reason",
        Move.ASK: FREE + ", question = given.question, reason = 'person'",
        Move.ANSWER: READY + ", answers = job.answers || given.answers, reason = 'answered'",
        Move.HAND_BACK: READY + ", reason = 'drained'",
        Move.RESCUE: READY + ", losses = job.losses + 1, reason = 'lost_worker'",
        Move.RECALL: READY + ", reason = 'lost_message'",
        Move.CANCEL: DONE + ", reason = given.reason",
        Move.EXPIRE: DONE + ", reason = 'expired'",
        Move.REQUEST_CANCEL: "reason = given.reason",
        Move.CONFIRM_CANCEL: DONE,
    }
)

# The right to move, beside the source state: whose attempt it is, or that nobody moved first.
ANYONE = "TRUE"
HOLDER = "job.attempt = given.attempt AND job.owner = given.owner"
SAME_ATTEMPT = "job.attempt = given.attempt"
OWNED_BY = "job.owner = given.owner"

STATEMENT = """
WITH now AS (SELECT %(now)s::timestamptz AS at),
given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (
        id uuid, attempt int, owner uuid, due_at timestamptz, error jsonb, cause text,
        charged int, reason text, question jsonb, answers jsonb)
),
moved AS (
    UPDATE invocation_job AS job SET state = %(target)s, event_seq = job.event_seq + 1, {facts}
    FROM given, now
    WHERE job.id = given.id AND job.state = ANY(%(sources)s) AND {right}
    RETURNING job.id, job.event_seq, job.state, job.attempt, job.reason, job.error, job.question
),
noted AS (
    INSERT INTO invocation_jobevent (job_id, seq, type, at, data)
    SELECT moved.id, moved.event_seq, 'job.' || moved.state, now.at,
        jsonb_strip_nulls(jsonb_build_object(
            'move', %(move)s::text, 'attempt', moved.attempt, 'reason', nullif(moved.reason, ''),
            'error', CASE WHEN {tells_error} THEN moved.error END,
            'question', moved.question))
    FROM moved, now
)
SELECT id FROM moved
"""

TELLS_ERROR = frozenset({Move.RETRY, Move.BURY})


@dataclass(frozen=True, slots=True)
class Given:
    """One job to move, with the facts of its move."""

    job_id: UUID
    facts: Mapping[str, Any]


def of(job_id: UUID | str, **facts: Any) -> Given:
    return Given(UUID(str(job_id)), facts)


def held(fence: Fence, **facts: Any) -> Given:
    """A move by the attempt that holds the job."""
    return of(fence.job_id, attempt=fence.attempt, owner=fence.owner, **facts)


def move(kind: Move, given: Sequence[Given], *, now: datetime, right: str = ANYONE) -> set[UUID]:
    """Take one edge for a group of jobs and return the ids that moved; the others were not where they should be.

    Source state and right stand in the UPDATE's own WHERE: of two that race for the same move one wins.
    The history row is written by the same statement. Joins the caller's transaction.
    """
    if not given:
        return set()
    edge = EDGES[kind]
    statement = STATEMENT.format(facts=FACTS[kind], right=right, tells_error="TRUE" if kind in TELLS_ERROR else "FALSE")
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "now": now,
                "rows": orjson.dumps([{"id": each.job_id, **each.facts} for each in given], default=str).decode(),
                "target": str(edge.target),
                "sources": [str(state) for state in edge.sources],
                "move": str(kind),
            },
        )
        return {row[0] for row in cursor.fetchall()}


def move_one(kind: Move, given: Given, *, now: datetime, right: str = ANYONE) -> None:
    """Take one edge for one job. Raises StaleMove and changes nothing if it is not where it should be."""
    if not move(kind, [given], now=now, right=right):
        raise StaleMove(f"Job {given.job_id} cannot {kind.replace('_', ' ')}: it is in another state, or held by another attempt.")


def note(job_id: UUID | str, kind: str, data: Mapping[str, Any], *, now: datetime) -> None:
    """Append an event that changes no state, such as progress."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "WITH next AS (UPDATE invocation_job SET event_seq = event_seq + 1 WHERE id = %s RETURNING id, event_seq) "
            "INSERT INTO invocation_jobevent (job_id, seq, type, at, data) SELECT id, event_seq, %s, %s, %s::jsonb FROM next",
            [str(job_id), kind, now, orjson.dumps(dict(data), default=str).decode()],
        )
