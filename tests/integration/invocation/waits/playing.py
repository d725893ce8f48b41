"""Jobs of the family as a test plays them: queued, run by a worker, looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connections

from invocation.domain.jobs import JobState
from invocation.models import Job
from invocation.services.submission import submit
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import a_submission, a_tenant
from tests.integration.invocation.workers import job_worker, run

Act = dict[str, Any]


def queued(*do: Act, endpoint: str = "family@1", tenant_id: UUID | None = None, **terms: Any) -> UUID:
    given = {"do": list(do)}
    wanted = a_submission(tenant_id or a_tenant("house"), endpoint=endpoint, given=given, **terms)
    return submit(wanted, now=datetime.now(UTC)).job_id


def played(on_loop: OnLoop[Any], *job_ids: UUID) -> Job:
    """Run these jobs on a worker of their own, each as far as it comes, and return the first as it stands then."""

    async def story() -> None:
        async with job_worker() as engine:
            for job_id in job_ids:
                await run(engine, job_id)

    on_loop(story())
    return Job.objects.get(pk=job_ids[0])


def played_to_rest(on_loop: OnLoop[Any], *job_ids: UUID) -> Job:
    """Run whatever is queued until nothing is, and return the first of these jobs."""
    while ready := list(Job.objects.filter(state=JobState.QUEUED).order_by("rank", "id").values_list("pk", flat=True)):
        played(on_loop, *ready)
    return Job.objects.get(pk=job_ids[0])


def gave(job: Job) -> list[Any]:
    output: Any = Job.objects.get(pk=job.pk).result.output
    return list(output["gave"])


def beside(act: Callable[[], None]) -> threading.Thread:
    """Return a thread that does this on a connection of its own."""

    def acting() -> None:
        try:
            act()
        finally:
            connections.close_all()

    return threading.Thread(target=acting)


def children_of(job: Job | UUID) -> list[Job]:
    return list(Job.objects.filter(parent_id=job.pk if isinstance(job, Job) else job).order_by("pk"))
