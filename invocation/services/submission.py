"""Accepting jobs: one statement writes the job and its first event, and wakes the dispatcher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction

from agents.services import providers
from invocation.domain import traces
from invocation.domain.budgets import Wish
from invocation.domain.contexts import Context
from invocation.domain.endpoints import Endpoint, check_estimate
from invocation.domain.errors import IdempotencyConflict, InputInvalid, LaneBusy
from invocation.domain.ids import new_id
from invocation.domain.jobs import OrderingPolicy
from invocation.gateways import hints, schemas
from invocation.models import Job
from invocation.selectors import canaries
from invocation.services import acceptance, endings, lanes
from quota.domain.budgets import Spending
from quota.domain.days import DayLimits
from quota.services import plans
from quota.services.admission import check_can_fit


@dataclass(frozen=True, slots=True)
class Lineage:
    """A spawned job's place: its parent, the root of the tree, how deep it lies, and the spawn that made it (once for each key)."""

    parent_id: UUID
    root_id: UUID
    depth: int
    child_key: str


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
    wish: Wish = field(default_factory=Wish)
    """What binds it, where that is narrower than the endpoint's own budgets."""
    expires_at: datetime | None = None
    redrive_of: UUID | None = None
    traceparent: str = ""
    ordering_policy: OrderingPolicy = OrderingPolicy.ENQUEUE
    agent: str = ""
    """An agent version to pin, such as that of the job that is redriven; the endpoint's own where empty."""
    webhook_id: UUID | None = None
    context: Context | None = None
    lineage: Lineage | None = None
    """Where the job descends from, if another job spawned it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A submission that fits its endpoint, and its job's row before it is written."""

    submission: Submission
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job's id, and whether an earlier call with the same key made it."""

    job_id: UUID
    is_replay: bool


def fingerprint(method: str, path: str, body: Any) -> str:
    """Return what a repeated Idempotency-Key must agree with: method, path and canonical body (IETF draft, section 2.4).

    Raises InputInvalid for a body that is nested too deeply.
    """
    canonical = _text(body, at="/", option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"\n".join([method.encode(), path.encode(), canonical])).hexdigest()


def check_input(endpoint: Endpoint, value: Any, *, day: DayLimits, at: str = "/input") -> None:
    """Refuse an input before any work; `day` is what the tenant's plan allows a day.

    Raises InputInvalid naming the field, TooManyItems, TooManyTokens or TooLongForSync, and quota's
    CanNeverFit when not even an idle minute of any of the models, or its LargerThanDay when not even a
    whole day of the plan, has room for the endpoint's estimate.
    """
    try:
        schemas.check(value, endpoint.input_schema)
    except schemas.Unfit as unfit:
        raise InputInvalid(f"{at}{unfit.pointer}: {unfit.wanted}.", field=at + unfit.pointer, found=_short(unfit.found)) from None
    estimate = check_estimate(endpoint, value)
    priority_class = endpoint.policy.priority_class
    day.check_fits(Spending(tokens=estimate.tokens))
    check_can_fit(settings.MODEL_PROVIDER, set(providers.names().values()), priority_class, tokens=estimate.tokens)


def submit(submission: Submission, *, now: datetime) -> Accepted:
    """Accept a job durably and return its id; called twice with the same idempotency key it returns the first job.

    Raises InputInvalid and its kin before anything is written, and IdempotencyConflict
    when the key came with another body. Joins the caller's transaction.
    """
    check_input(submission.endpoint, submission.input, day=plans.day_limits_now(submission.tenant_id))
    if submission.ordering_key is not None:
        return _into_lane(submission, now=now)
    accepted = _insert(submission, now=now, is_behind=False)
    hints.wake(str(submission.endpoint.policy.priority_class), submission.tenant_id)
    return accepted


def made_before(tenant_id: UUID, key: str, fingerprint: str) -> Job | None:
    """Return the job that an earlier call with this idempotency key and this very body made, if there is one."""
    return Job.objects.filter(tenant_id=tenant_id, idempotency_key=key, fingerprint=fingerprint).first()


def _into_lane(submission: Submission, *, now: datetime) -> Accepted:
    """Queue behind what is open in the lane, be refused because of it, or replace it: by the submission's policy."""
    tenant_id, key = submission.tenant_id, str(submission.ordering_key)
    with transaction.atomic():
        ahead = lanes.enter(tenant_id, key, most=None if submission.ordering_policy is OrderingPolicy.REPLACE else 1)
        if _was_made(submission):
            return _earlier(submission)
        if ahead and submission.ordering_policy is OrderingPolicy.REPLACE:
            endings.stop(ahead, reason="replaced", now=now)
            ahead = lanes.open_jobs(tenant_id, key)
        if ahead and submission.ordering_policy is OrderingPolicy.REJECT:
            raise _busy(submission, ahead)
        accepted = _insert(submission, now=now, is_behind=bool(ahead))
    hints.wake(str(submission.endpoint.policy.priority_class), submission.tenant_id)
    return accepted


def ready(submission: Submission, *, day: DayLimits, now: datetime) -> Ready:
    """Check a submission for `submit_many` and write nothing; `day` is what the tenant's plan allows a day.

    Raises InputInvalid and its kin, and whatever the endpoint's own estimate raises.
    """
    check_input(submission.endpoint, submission.input, day=day)
    return Ready(submission, _columns(submission, now=now))


def submit_many(submissions: Sequence[Ready]) -> list[Accepted | IdempotencyConflict]:
    """Accept many jobs in one statement: an answer for each in order, its job or its refusal.

    None of them may name an ordering_key: a lane is entered by `submit`.
    """
    made = acceptance.insert_many([each.row for each in submissions])
    for priority_class, tenant_id in {(each.row["priority_class"], each.row["tenant_id"]) for each in submissions}:
        hints.wake(priority_class, tenant_id)
    return [Accepted(each.row["id"], is_replay=False) if each.row["id"] in made else _replayed(each.submission) for each in submissions]


def _replayed(submission: Submission) -> Accepted | IdempotencyConflict:
    try:
        return _earlier(submission)
    except IdempotencyConflict as conflict:
        return conflict


def _insert(submission: Submission, *, now: datetime, is_behind: bool) -> Accepted:
    row = {**_columns(submission, now=now), "is_behind": is_behind}
    return Accepted(row["id"], is_replay=False) if acceptance.insert(row) else _earlier(submission)


def _was_made(submission: Submission) -> bool:
    """Say whether an earlier call with the same key made its job: a replay replaces nothing and is not refused."""
    key = submission.idempotency_key
    return key is not None and Job.objects.filter(tenant_id=submission.tenant_id, idempotency_key=key).exists()


def _busy(submission: Submission, ahead: Sequence[UUID]) -> LaneBusy:
    return LaneBusy(
        f"Job {ahead[0]} of ordering_key {submission.ordering_key!r} is still open, and this submission's policy is to be refused.",
        field="ordering_key",
        found=submission.ordering_key,
        job_id=str(ahead[0]),
    )


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
    budgets, terms = endpoint.budgets.within(submission.wish), endpoint.policy
    job_id, context, lineage = new_id(), submission.context, submission.lineage
    return {
        "id": job_id,
        "tenant_id": submission.tenant_id,
        "endpoint": endpoint.label,
        "agent": submission.agent or canaries.agent_for(endpoint, job_id),
        "mode": str(endpoint.mode),
        "traceparent": submission.traceparent or traces.new(),
        "priority_class": str(terms.priority_class),
        "input": _text(submission.input, at="/input"),
        "subject": submission.subject,
        "locale": submission.locale,
        "metadata": orjson.dumps(submission.metadata),
        "ordering_key": submission.ordering_key,
        "idempotency_key": submission.idempotency_key,
        "fingerprint": submission.fingerprint,
        "latency_budget_ms": budgets.whole_ms,
        "cost_cap_usd": budgets.cost_usd,
        "token_cap": budgets.tokens,
        "call_cap": budgets.model_calls,
        "tries": terms.tries,
        "redrive_of": submission.redrive_of,
        "now": now,
        "expires_at": submission.expires_at,
        "parent_id": lineage and lineage.parent_id,
        "root_id": lineage and lineage.root_id,
        "depth": lineage.depth if lineage else 0,
        "child_key": lineage.child_key if lineage else "",
        "webhook_id": submission.webhook_id,
        "context_key": context and context.key,
        "context_version": context and context.version,
        "relevance": str(context.policy) if context else "",
        "is_behind": False,
    }


def _text(value: Any, *, at: str, option: int | None = None) -> bytes:
    """Return the value as JSON. Raises InputInvalid for one that is nested too deeply."""
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError as broken:
        raise InputInvalid(f"{at}: it cannot be kept as JSON: {broken}.", field=at) from None


def _short(found: Any) -> Any:
    return found if len(repr(found)) <= 200 else repr(found)[:200] + "…"
