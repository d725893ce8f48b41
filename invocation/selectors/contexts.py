"""What is read of contexts: how far they are, and whether a job's answer is still of the current version."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from invocation.domain.contexts import Context, Relevance, Standing
from invocation.domain.errors import NotFound
from invocation.models import ContextRecord, Job


def owned_context(tenant_id: UUID, key: str) -> ContextRecord:
    """Return the tenant's context. Raises NotFound, also for another tenant's."""
    found = ContextRecord.objects.filter(tenant_id=tenant_id, key=key).first()
    if found is None:
        raise NotFound(f"There is no context {key!r}.", field="key", found=key)
    return found


def standing_of(job: Job) -> Standing | None:
    """Return where the job's context is at this moment; None if the job names none. A context that is gone has not moved on."""
    if job.context_key is None or job.context_version is None:
        return None
    versions = ContextRecord.objects.filter(tenant_id=job.tenant_id, key=job.context_key).values_list("version", flat=True)
    return Standing(Context(job.context_key, job.context_version, Relevance(job.relevance)), versions.first() or job.context_version)


def relevance_of(job: Job) -> dict[str, Any] | None:
    """Return what is told beside the job's answer, as JSON; None where there is nothing to tell."""
    standing = standing_of(job)
    return standing.as_json() if standing else None


def relevance_of_id(job_id: UUID) -> dict[str, Any] | None:
    job = Job.objects.only("tenant_id", "context_key", "context_version", "relevance").filter(pk=job_id).first()
    return relevance_of(job) if job else None


def answer_of(context: ContextRecord) -> Job | None:
    """Return the job whose answer is the context's newest, if it is still on record."""
    return Job.objects.filter(pk=context.answer_job_id, tenant_id=context.tenant_id).first() if context.answer_job_id else None
