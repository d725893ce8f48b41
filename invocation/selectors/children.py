"""How a job's children ended."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from agents.domain.waits import Child, Outcome
from invocation.domain.errors import InvocationError
from invocation.domain.jobs import TERMINAL, JobState
from invocation.models import Job
from invocation.selectors.results import output_of, result_of

GONE = {"code": "child_gone", "sentence": "Its record was deleted, or it is no child of this run."}


def outcomes_of(parent_id: UUID, children: Sequence[Child]) -> list[Outcome] | None:
    """Return how these children of a job ended, in the order given, or None while one of them runs.

    What is no child of this job, or is deleted, counts as one that failed. Raises OSError while the store of large outputs
    does not answer: how a child ended is not known then, and a guess would be another one at the replay.
    """
    ids = [child.id for child in children]
    found = {str(job.pk): job for job in Job.objects.select_related("result").filter(parent_id=parent_id, pk__in=ids)}
    if any(job.state not in TERMINAL for job in found.values()):
        return None
    return [_outcome(child, found.get(child.id)) for child in children]


def _outcome(child: Child, job: Job | None) -> Outcome:
    if job is None:
        return Outcome(child=child, error=GONE)
    if job.state == JobState.COMPLETED:
        return _completed(child, job)
    error = job.error or {}
    told = {"code": error.get("code", job.state), "sentence": error.get("sentence", f"It was {job.state}: {job.reason}.")}
    return Outcome(child=child, error=told)


def _completed(child: Child, job: Job) -> Outcome:
    try:
        return Outcome(child=child, output=output_of(job.result if hasattr(job, "result") else result_of(job)))
    except InvocationError as missing:
        return Outcome(child=child, error={"code": missing.code, "sentence": missing.detail})
