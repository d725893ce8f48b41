"""Claims: how the jobs of a message become held by this process, and what an attempt is told of its job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from agents.domain.steps import Step, StepKey
from invocation.domain.jobs import Fence
from invocation.services import journals, lifecycle
from quota.domain.budgets import Spending

TOLD = """
moved.id, moved.attempt, moved.owner::text, job.tenant_id, job.endpoint, job.agent, job.mode, job.priority_class, job.traceparent,
job.input, job.subject, job.locale, job.metadata, job.latency_budget_ms, job.cost_cap_usd, job.spent_usd, job.lent_usd,
job.tries, job.failures, job.queued_at, job.answers, job.parent_id, job.root_id, job.depth,
job.token_cap, job.call_cap, job.spent_tokens, job.spent_calls, job.lent_tokens, job.lent_calls,
job.held_usd, job.held_tokens, job.held_calls, job.ordering_key, job.id::text, job.tenant_id::text
"""


class Claim(NamedTuple):
    """A message's word: this job, in this attempt, for this process."""

    job_id: UUID
    attempt: int
    owner: UUID


class HeldJob(NamedTuple):
    """What an attempt knows of its job, as the row stood at the claim. In the order of TOLD, so that a row becomes one at once."""

    id: UUID
    attempt: int
    owner: str
    tenant_id: UUID
    endpoint: str
    agent: str
    mode: str
    priority_class: str
    traceparent: str
    input: Mapping[str, Any]
    subject: str
    locale: str
    metadata: Mapping[str, str]
    latency_budget_ms: int
    cost_cap_usd: Decimal
    spent_usd: Decimal
    lent_usd: Decimal
    tries: int
    failures: int
    queued_at: datetime
    answers: Mapping[str, Any]
    parent_id: UUID | None
    root_id: UUID | None
    depth: int
    token_cap: int
    call_cap: int
    spent_tokens: int
    spent_calls: int
    lent_tokens: int
    lent_calls: int
    held_usd: Decimal
    held_tokens: int
    held_calls: int
    ordering_key: str | None
    key: str
    """Its id, as text."""
    tenant: str
    """The tenant's id, as text."""

    @property
    def is_bound(self) -> bool:
        """Whether it is in a lane or has a parent, so that its end changes more than itself."""
        return self.parent_id is not None or self.ordering_key is not None

    @property
    def remaining(self) -> Spending:
        """Return what it may still spend; what a lost attempt had set aside counts as spent."""
        return Spending(
            self.cost_cap_usd - self.spent_usd - self.lent_usd - self.held_usd,
            self.token_cap - self.spent_tokens - self.lent_tokens - self.held_tokens,
            self.call_cap - self.spent_calls - self.lent_calls - self.held_calls,
        )


JSON_PLACES = tuple(HeldJob._fields.index(column) for column in ("input", "metadata", "answers"))


class Claimed(NamedTuple):
    """A job that this process holds, the right to it, and the steps that earlier attempts finished."""

    job: HeldJob
    fence: Fence
    steps: Mapping[StepKey, Step]


def claim(claims: Sequence[Claim]) -> Sequence[Claimed | None]:
    """Take the jobs of these messages; None for a message that came twice or too late."""
    given = [lifecycle.of(each.job_id, attempt=each.attempt, owner=str(each.owner)) for each in claims]
    jobs = {job.id: job for job in map(_held, lifecycle.claim(given, told=TOLD, now=datetime.now(UTC)))}
    resumed = [job.id for job in jobs.values() if job.attempt > 1]
    steps = journals.steps_of(resumed) if resumed else {}
    taken = [jobs.pop(each.job_id, None) for each in claims]
    return [_claimed(job, steps.get(job.id, {})) if job else None for job in taken]


def _claimed(job: HeldJob, steps: Mapping[StepKey, Step]) -> Claimed:
    return Claimed(job, Fence(job.key, job.attempt, job.owner), steps)


def _held(row: tuple[Any, ...]) -> HeldJob:
    """Read a row of TOLD: JSON comes as text."""
    told = list(row)
    for place in JSON_PLACES:
        told[place] = orjson.loads(told[place])
    return HeldJob._make(told)
