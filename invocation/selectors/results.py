"""What is read of results: whether there is one, whether it is handed out, and its output from wherever it is kept."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from invocation.domain.errors import NoResult, ResultDamaged, ResultExpired, ResultNotReady, ResultWithheld
from invocation.domain.jobs import TERMINAL, JobState
from invocation.gateways import objects, stores
from invocation.models import Job, Result
from invocation.selectors.contexts import relevance_of, standing_of


def result_of(job: Job) -> Result:
    """Return a completed job's result.

    Raises ResultNotReady before the end, NoResult after another end, ResultExpired when it is kept no more.
    """
    found = Result.objects.filter(job=job).first()
    if found is not None:
        return found
    if job.state not in TERMINAL:
        raise ResultNotReady(f"Job {job.pk} is {job.state}.", state=job.state)
    if job.state == JobState.COMPLETED:
        raise ResultExpired(f"Job {job.pk} completed; its result is no longer kept.", state=job.state)
    raise NoResult(f"Job {job.pk} is {job.state}.", state=job.state, error=job.error, reason=job.reason, **_told(job))


def must_be_wanted(job: Job) -> None:
    """Raise ResultWithheld if the job's context has moved on and its result is to be withheld then."""
    standing = standing_of(job)
    if standing is not None and standing.is_withheld:
        raise ResultWithheld(
            f"Job {job.pk} was asked in version {standing.asked.version} of context {standing.asked.key!r}, "
            f"which is at version {standing.current_version}.",
            relevance=standing.as_json(),
        )


def output_of(result: Result) -> Any:
    """Return the output, read from the object store and checked where it is large.

    Raises ResultDamaged, and OSError while the store does not answer: that says nothing of the result.
    """
    if not result.location:
        return result.output
    try:
        content = objects.store_of(result.job.tenant_id).read(result.location)
    except FileNotFoundError as gone:
        raise _damaged(result, "is gone") from gone
    if len(content) != result.size or hashlib.sha256(content).hexdigest() != result.sha256:
        raise _damaged(result, "is not what was written")
    return orjson.loads(content)


def delivered_output(result: Result) -> Any:
    """Return the output for whoever asked for it. Raises ResultDamaged, and StoreUnavailable while the store does not answer."""
    with stores.answering("output"):
        return output_of(result)


def wanted_output(job: Job) -> Any:
    """Return the output that stands in the job's row; None if it is withheld, kept no more, or large."""
    found = Result.objects.filter(job=job).first()
    standing = standing_of(job)
    return None if found is None or (standing and standing.is_withheld) else found.output


def kept_output(result: Result) -> Any:
    """Return the output for who looks at the row, and for a large one only where it lies."""
    return {"location": result.location, "size": result.size, "sha256": result.sha256} if result.location else result.output


def _damaged(result: Result, what: str) -> ResultDamaged:
    return ResultDamaged(f"The stored result of job {result.job_id} {what}.", job_id=str(result.job_id))


def _told(job: Job) -> dict[str, Any]:
    """A failure that comes too late says so as well."""
    relevance = relevance_of(job)
    return {"relevance": relevance} if relevance else {}
