"""Starting one dead letter again, as a new job linked to it; the old one stays failed and names its successor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from django.db import transaction

from agents.domain import registry
from invocation.domain.budgets import Wish
from invocation.domain.contexts import Context, Relevance
from invocation.domain.endpoints import check_size
from invocation.domain.errors import AgentVersionGone, DeadLetterDiscarded, NotFound, StaleMove
from invocation.domain.jobs import JobState
from invocation.domain.redrives import AS_IT_WAS, AgentChoice, Edit
from invocation.gateways import declared
from invocation.models import Discard, Job
from invocation.services import endings
from invocation.services.submission import Accepted, Submission, submit


@dataclass(frozen=True, slots=True)
class Held:
    """A job under its lock, with what was done about it before."""

    job: Job
    successor_id: UUID | None
    discard: Discard | None


@transaction.atomic
def redrive(job_id: UUID, *, now: datetime, edit: Edit = AS_IT_WAS) -> Accepted:
    """Start a failed job again. Raises NotFound where there is none, and the refusals of `start`."""
    found = held([job_id]).get(job_id)
    if found is None:
        raise NotFound(f"There is no job {job_id}.", field="id", found=str(job_id))
    return start(found, now=now, edit=edit)


def held(job_ids: Sequence[UUID]) -> Mapping[UUID, Held]:
    """Lock these jobs until the caller's transaction ends, in order, so that no two wait for each other; return those that exist.

    Their lanes, which their successors enter, are locked before any of them, as everybody does.
    """
    endings.lock_around(job_ids)
    jobs = list(Job.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=job_ids).order_by("pk"))
    successors = dict(Job.objects.filter(redrive_of__in=job_ids).values_list("redrive_of_id", "pk"))
    discards = Discard.objects.in_bulk(job_ids)
    return {job.pk: Held(job, successors.get(job.pk), discards.get(job.pk)) for job in jobs}


def start(found: Held, *, now: datetime, edit: Edit = AS_IT_WAS) -> Accepted:
    """Start a job that the caller holds again. Its Idempotency-Key stays the old job's.

    Raises StaleMove if the job has not failed or was redriven before, DeadLetterDiscarded, AgentVersionGone,
    EndpointRetired and its kin, InputInvalid and its kin if the input, edited or not, does not fit any more, and
    quota's CanNeverFit and LargerThanDay if the plan has shrunk meanwhile; then nothing was written.
    """
    _must_be_open(found)
    return submit(_again(found.job, edit), now=now)


def _must_be_open(found: Held) -> None:
    job, discard = found.job, found.discard
    if job.state != JobState.FAILED:
        raise StaleMove(f"Job {job.pk} is {job.state}: only a failed job can be redriven.")
    if found.successor_id is not None:
        raise StaleMove(f"Job {job.pk} was redriven before, as job {found.successor_id}.")
    if discard is not None:
        raise DeadLetterDiscarded(f"Job {job.pk} was discarded at {discard.at:%Y-%m-%d %H:%M} UTC: {discard.reason}", reason=discard.reason)


def _again(job: Job, edit: Edit) -> Submission:
    endpoint = declared.book().find(job.endpoint)
    given = edit.applied_to(job.input)
    if edit.is_of_input:
        check_size(endpoint, len(orjson.dumps(given)))
    return Submission(
        tenant_id=job.tenant_id,
        endpoint=endpoint,
        agent=_registered(job.agent) if edit.agent is AgentChoice.ORIGINAL else "",
        input=given,
        subject=job.subject,
        locale=job.locale,
        metadata=job.metadata,
        ordering_key=job.ordering_key,
        wish=Wish(cost_usd=job.cost_cap_usd, tokens=job.token_cap, model_calls=job.call_cap),
        webhook_id=job.webhook_id,
        context=_context(job),
        redrive_of=job.pk,
    )


def _context(job: Job) -> Context | None:
    if job.context_key is None or job.context_version is None:
        return None
    return Context(job.context_key, job.context_version, Relevance(job.relevance))


def _registered(agent: str) -> str:
    """Return the agent version's label if it is still here. Raises AgentVersionGone."""
    declared.load_agents()
    known = {spec.label for spec in registry.every()}
    if agent not in known:
        raise AgentVersionGone(f"{agent} is not registered here any more; there are {', '.join(sorted(known))}.", found=agent)
    return agent
