"""Accepting jobs: one statement writes the job and its first event, and wakes the dispatcher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from uuid6 import uuid7

from invocation.domain import traces
from invocation.domain.endpoints import Endpoint, check_estimate, narrowed
from invocation.domain.errors import IdempotencyConflict, InputInvalid
from invocation.domain.jobs import JobState
from invocation.gateways import schemas
from invocation.models import Job

CHANNEL = "gearbox_jobs"

STATEMENT = """
WITH accepted AS (
    INSERT INTO invocation_job (
        id, tenant_id, endpoint, agent, mode, traceparent, attempt, owner, priority_class, state, reason, event_seq,
        input, subject, locale, metadata, ordering_key, idempotency_key, fingerprint, latency_budget_ms, cost_cap_usd,
        tries, failures, losses, spent_usd, answers, cause, redrive_of_id, created_at, queued_at, expires_at)
    VALUES (
        %(id)s, %(tenant_id)s, %(endpoint)s, %(agent)s, %(mode)s, %(traceparent)s, 0, NULL, %(priority_class)s, %(state)s, '', 1,
        %(input)s, %(subject)s, %(locale)s, %(metadata)s, %(ordering_key)s, %(idempotency_key)s, %(fingerprint)s,
        %(latency_budget_ms)s, %(cost_cap_usd)s, %(tries)s, 0, 0, 0, '{}', '', %(redrive_of)s, %(now)s, %(now)s, %(expires_at)s)
    ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id
), noted AS (
    INSERT INTO invocation_jobevent (job_id, seq, type, at, data)
    SELECT id, 1, 'job.queued', %(now)s, '{"move": "submit"}' FROM accepted
)
SELECT id, pg_notify(%(channel)s, %(priority_class)s) FROM accepted
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A request for a job, before it is accepted."""

    tenant_id: UUID
    endpoint: Endpoint
    input: Mapping[str, Any]
    subject: str = ""
    locale: str = "en"
    metadata: Mapping[str, str] = field(default_factory=dict)
    ordering_key: str | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""
    cost_usd: Decimal | None = None
    expires_at: datetime | None = None
    redrive_of: UUID | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job's id, and whether an earlier call with the same key made it."""

    job_id: UUID
    is_replay: bool


def fingerprint(method: str, path: str, body: Any) -> str:
    """Return what a repeated Idempotency-Key must agree with: method, path and canonical body (IETF draft, section 2.4)."""
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"\n".join([method.encode(), path.encode(), canonical])).hexdigest()


def check_input(endpoint: Endpoint, value: Any, *, at: str = "/input") -> None:
    """Refuse an input before any work. Raises InputInvalid naming the field, TooManyItems, TooManyTokens or TooLongForSync."""
    try:
        schemas.check(value, endpoint.input_schema)
    except schemas.Unfit as unfit:
        raise InputInvalid(f"{at}{unfit.pointer}: {unfit.wanted}.", field=at + unfit.pointer, found=_short(unfit.found)) from None
    check_estimate(endpoint, value)


def submit(submission: Submission, *, now: datetime) -> Accepted:
    """Accept a job durably and return its id; called twice with the same idempotency key it returns the first job.

    Raises InputInvalid and its kin before anything is written, and IdempotencyConflict
    when the key came with another body. Joins the caller's transaction.
    """
    check_input(submission.endpoint, submission.input)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(STATEMENT, _columns(submission, now=now))
        row = cursor.fetchone()
        if row:
            return Accepted(row[0], is_replay=False)
        return _earlier(submission)


def _earlier(submission: Submission) -> Accepted:
    job = Job.objects.only("id", "fingerprint").get(tenant_id=submission.tenant_id, idempotency_key=submission.idempotency_key)
    if job.fingerprint != submission.fingerprint:
        raise IdempotencyConflict(
            f"Idempotency-Key {submission.idempotency_key!r} was used with another body for job {job.id}: send a fresh key.",
            field="Idempotency-Key",
            found=submission.idempotency_key,
        )
    return Accepted(job.id, is_replay=True)


def _columns(submission: Submission, *, now: datetime) -> dict[str, Any]:
    endpoint = submission.endpoint
    budgets, terms = endpoint.budgets, endpoint.policy
    return {
        "id": uuid7(),
        "tenant_id": submission.tenant_id,
        "endpoint": endpoint.label,
        "agent": endpoint.agent_label,
        "mode": str(endpoint.mode),
        "traceparent": submission.traceparent or traces.new(),
        "priority_class": str(terms.priority_class),
        "state": str(JobState.QUEUED),
        "input": orjson.dumps(submission.input).decode(),
        "subject": submission.subject,
        "locale": submission.locale,
        "metadata": orjson.dumps(submission.metadata).decode(),
        "ordering_key": submission.ordering_key,
        "idempotency_key": submission.idempotency_key,
        "fingerprint": submission.fingerprint,
        "latency_budget_ms": budgets.whole_ms,
        "cost_cap_usd": narrowed(submission.cost_usd, budgets.cost_usd),
        "tries": terms.tries,
        "redrive_of": submission.redrive_of,
        "now": now,
        "expires_at": submission.expires_at,
        "channel": CHANNEL,
    }


def _short(found: Any) -> Any:
    return found if len(repr(found)) <= 200 else repr(found)[:200] + "…"
