"""The one writer of a job's state: every move is one guarded statement that also writes the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection, transaction

from invocation.domain.errors import StaleMove
from invocation.domain.jobs import EDGES, Fence, JobState, Move
from invocation.gateways import statements

# What each move sets beside the state. `given` is the caller's row, `now` the moment of the move.
# A run that came as far as this by itself did not end its process: it need not be alone any more.
FREE = "owner = NULL, is_alone = FALSE"
DONE = "owner = NULL, finished_at = now.at, questions = NULL, awaiting = NULL, due_at = NULL"
# What is for operators alone stands in a column of its own: nothing that is told of a job or of its history reads it.
ERROR = ", error = given.error - 'broke', broke = coalesce(given.error ->> 'broke', '')"
# What has run before goes before what has not (rank 0): a parent that resumes cannot wait behind its own tenant's backlog.
READY = "owner = NULL, queued_at = now.at, questions = NULL, awaiting = NULL, due_at = NULL, dispatched_at = NULL, rank = 0"

FACTS: Mapping[Move, str] = MappingProxyType(
    {
        Move.ADMIT: "dispatched_at = now.at, reason = ''",
        Move.CLAIM: "attempt = job.attempt + 1, owner = given.owner, started_at = coalesce(job.started_at, now.at), reason = ''",
        Move.COMPLETE: DONE + ", reason = '', error = NULL, broke = ''",
        Move.RETRY: FREE + ERROR + ", failures = job.failures + 1, due_at = given.due_at, reason = 'retry'",
        Move.WAKE: READY + ", reason = job.reason",
        # Charged to the job (1), or to the worker that was lost under it (0).
        Move.BURY: DONE
        + ERROR
        + ", failures = job.failures + given.charged, losses = job.losses + 1 - given.charged"
        + ", cause = given.cause, reason = given.reason",
        Move.ASK: FREE + ", questions = given.questions, due_at = given.due_at, reason = 'person'",
        Move.ANSWER: READY + ", answers = job.answers || given.answers, reason = 'answered'",
        Move.TIME_OUT: READY + ", reason = 'unanswered'",
        # Where nothing knew its agent it did not run: whoever was alone stays so.
        Move.WAIT: "owner = NULL, is_alone = job.is_alone AND given.reason IS NOT DISTINCT FROM 'undeclared'"
        ", awaiting = given.awaiting, due_at = given.due_at, reason = given.reason",
        Move.PUT_OFF: FREE + ", due_at = given.due_at, reason = given.reason",
        Move.HAND_BACK: READY + ", reason = 'drained'",
        # Whoever lost a worker runs next alone; only who was alone with it is charged with the loss (1).
        Move.RESCUE: READY + ", losses = job.losses + given.charged, is_alone = TRUE, reason = 'lost_worker'",
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
# Whoever comes to an expired job leaves it to the sweep.
STILL_WANTED = SAME_ATTEMPT + " AND (job.expires_at IS NULL OR job.expires_at > now.at)"
OWNED_BY = "job.owner = given.owner"

STATEMENT = """
WITH now AS (SELECT %(now)s::timestamptz AS at),
given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (
        id uuid, attempt int, owner uuid, due_at timestamptz, error jsonb, cause text,
        charged int, reason text, questions jsonb, answers jsonb, awaiting jsonb)
),
{locked}
moved AS (
    UPDATE invocation_job AS job SET state = %(target)s::text, event_seq = job.event_seq + 1, {facts}
    FROM given, now {and_locked}
    WHERE job.id = given.id {if_locked} AND job.state = ANY(%(sources)s::text[]) AND {right}
    RETURNING job.id, job.event_seq, job.state, job.attempt, job.reason, job.error, job.questions, job.tenant_id, job.priority_class,
        job.parent_id, job.ordering_key, job.webhook_id, job.context_key, job.owner
),
noted AS (
    INSERT INTO invocation_jobevent (job_id, seq, type, at, data)
    SELECT moved.id, moved.event_seq, 'job.' || moved.state, now.at,
        jsonb_strip_nulls(jsonb_build_object(
            'move', %(move)s::text, 'attempt', moved.attempt, 'reason', nullif(moved.reason, ''),
            'error', CASE WHEN {tells_error} THEN moved.error END,
            'questions', moved.questions))
    FROM moved, now
)
"""
# A group is locked in the order of its ids before it is moved: of two groups with a job in common neither waits for the other for ever.
LOCKED = """locked AS (
    SELECT job.id FROM invocation_job AS job JOIN given ON given.id = job.id ORDER BY job.id FOR NO KEY UPDATE OF job
),"""
ANSWER = """
SELECT id, tenant_id, reason, priority_class, parent_id, ordering_key, webhook_id, context_key,
    EXISTS (SELECT FROM invocation_webhook AS webhook WHERE webhook.tenant_id = moved.tenant_id AND webhook.is_enabled)
FROM moved
"""

# Admission picks and moves in one statement; `picked` has id and attempt, and keeps its order and its other columns.
ADMISSION = """
WITH now AS (SELECT %(now)s::timestamptz AS at),
picked AS ({picked}),
moved AS (
    UPDATE invocation_job AS job SET state = 'dispatched', event_seq = job.event_seq + 1, {facts}
    FROM (SELECT id, attempt FROM picked ORDER BY id) AS picked, now
    WHERE job.id = picked.id AND job.state = 'queued' AND job.attempt = picked.attempt
    RETURNING job.id, job.event_seq, job.attempt
),
noted AS (
    INSERT INTO invocation_jobevent (job_id, seq, type, at, data)
    SELECT moved.id, moved.event_seq, 'job.dispatched', now.at, jsonb_build_object('move', 'admit', 'attempt', moved.attempt)
    FROM moved, now
)
SELECT picked.* FROM picked JOIN moved ON moved.id = picked.id
"""

# A claim answers with what the attempt must know of its job, so that nothing is asked a second time.
CLAIMING = """
SELECT {told} FROM moved JOIN invocation_job AS job ON job.id = moved.id
"""

IN_ORDER: Mapping[str, str] = MappingProxyType({"locked": LOCKED, "and_locked": ", locked", "if_locked": "AND job.id = locked.id"})
AS_IT_IS: Mapping[str, str] = MappingProxyType({"locked": "", "and_locked": "", "if_locked": ""})
HOT = frozenset({Move.CLAIM, Move.COMPLETE})
"""Every job passes through these: locking first costs a quarter more, and what is given in order is taken in order, too."""
TELLS_ERROR = frozenset({Move.RETRY, Move.BURY})


class Moved(NamedTuple):
    """A job that took an edge, with what those who follow its moves need to know of it."""

    id: UUID
    tenant_id: UUID
    state: JobState
    reason: str
    priority_class: str
    parent_id: UUID | None
    ordering_key: str | None
    webhook_id: UUID | None
    context_key: str | None
    has_listeners: bool
    """Whether any webhook of the tenant is enabled."""


class Given(NamedTuple):
    """One job to move, with the facts of its move."""

    job_id: UUID
    facts: Mapping[str, Any]


def of(job_id: UUID | str, **facts: Any) -> Given:
    return Given(job_id if isinstance(job_id, UUID) else UUID(job_id), facts)


def held(fence: Fence, **facts: Any) -> Given:
    """A move by the attempt that holds the job."""
    return of(fence.job_id, attempt=fence.attempt, owner=fence.owner, **facts)


def move(kind: Move, given: Sequence[Given], *, now: datetime, right: str = ANYONE) -> set[UUID]:
    """Take one edge for a group of jobs and return the ids that moved; the others were not where they should be.

    Terminal edges are taken by services/endings.py, which does what follows an end. Joins the caller's transaction.
    """
    return {each.id for each in take(kind, given, now=now, right=right)}


def take(kind: Move, given: Sequence[Given], *, now: datetime, right: str = ANYONE) -> list[Moved]:
    """Take one edge for a group of jobs and return those that moved.

    Source state and right stand in the UPDATE's own WHERE: of two that race for the same move one wins.
    The history row is written by the same statement. Joins the caller's transaction.
    """
    if not given:
        return []
    moved = _moved(STATEMENT + ANSWER, kind, given, now=now, right=right)
    target = EDGES[kind].target
    return [Moved(row[0], row[1], target, *row[2:]) for row in moved]


def claim(given: Sequence[Given], *, told: str, now: datetime) -> list[statements.Row]:
    """Give these jobs to their owners and return, of each that moved, the columns `told` of its row and its new attempt and owner.

    What has expired does not move.
    """
    return _moved(STATEMENT + CLAIMING.format(told=told), Move.CLAIM, given, now=now, right=STILL_WANTED)


def _moved(statement: str, kind: Move, given: Sequence[Given], *, now: datetime, right: str) -> list[statements.Row]:
    edge = EDGES[kind]
    order = IN_ORDER if len(given) > 1 and kind not in HOT else AS_IT_IS
    statement = statement.format(facts=FACTS[kind], right=right, tells_error="TRUE" if kind in TELLS_ERROR else "FALSE", **order)
    in_order = sorted(given, key=lambda each: each.job_id)
    given_rows = orjson.dumps([{"id": each.job_id, **each.facts} for each in in_order], default=str).decode()
    sources = [str(state) for state in edge.sources]
    return statements.rows(statement, {"now": now, "rows": given_rows, "target": str(edge.target), "sources": sources, "move": str(kind)})


def admit(picked: str, given: Mapping[str, Any], *, now: datetime) -> list[statements.Row]:
    """Let the jobs that a query picks go to a worker, and return the query's rows of those that moved."""
    return statements.rows(ADMISSION.format(picked=picked, facts=FACTS[Move.ADMIT]), {**given, "now": now})


def move_one(kind: Move, given: Given, *, now: datetime, right: str = ANYONE) -> None:
    """Take one edge for one job. Raises StaleMove and changes nothing if it is not where it should be."""
    if not take(kind, [given], now=now, right=right):
        raise stale(kind, given)


def stale(kind: Move, given: Given) -> StaleMove:
    """Say that a job is not where the move begins, or is another's."""
    return StaleMove(f"Job {given.job_id} cannot {kind.replace('_', ' ')}: it is in another state, or held by another attempt.")


def note(job_id: UUID | str, kind: str, data: Mapping[str, Any], *, now: datetime) -> None:
    """Append an event that changes no state, such as progress."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "WITH next AS (UPDATE invocation_job SET event_seq = event_seq + 1 WHERE id = %s RETURNING id, event_seq) "
            "INSERT INTO invocation_jobevent (job_id, seq, type, at, data) SELECT id, event_seq, %s, %s, %s::jsonb FROM next",
            [str(job_id), kind, now, orjson.dumps(dict(data), default=str).decode()],
        )
