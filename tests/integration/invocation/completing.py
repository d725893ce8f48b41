"""Jobs brought to their end as an engine does it, with a result of any size."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson

from agents.domain.errors import ProviderUnavailable
from invocation.domain.jobs import Fence
from invocation.models import Job
from invocation.services import attempts, results
from invocation.services.attempts import Completion
from invocation.services.records import Finished
from tests.integration.invocation.rows import NOW, TRACE


def fence_of(job: Job) -> Fence:
    return Fence(str(job.pk), job.attempt, str(job.owner))


def a_run(job: Job, *, outcome: str = "completed") -> Finished:
    return Finished(
        run_id=job.pk,
        source="job",
        source_id=job.pk,
        tenant_id=job.tenant_id,
        endpoint=job.endpoint,
        agent=job.agent,
        mode=job.mode,
        attempt=job.attempt,
        traceparent=TRACE,
        outcome=outcome,
        error_code="",
        waited=timedelta(),
        started_at=NOW,
        first_delta_ms=None,
        duration_ms=10,
        models_used=(),
        input_tokens=0,
        output_tokens=0,
        cost_usd=0,
        lines=(),
        evidence=orjson.dumps({"input": job.input, "facts": {}, "output": {"text": "said"}, "agent": job.agent, "mode": job.mode}),
    )


def completion(job: Job, output: Mapping[str, Any]) -> Completion:
    content = results.written(output)
    kept = results.stow(fence_of(job), job.tenant_id, content) if results.is_large(content) else results.in_row(content)
    return Completion(fence_of(job), kept, a_run(job))


def complete(*jobs: Job, text: str = "done") -> bool:
    """Complete jobs that a worker holds, in one group; False if one was held by another attempt."""
    return all(attempts.complete([completion(job, {"text": text}) for job in jobs]))


def bury(job: Job) -> None:
    """Let a job fail for good."""
    attempts.fail(fence_of(job), ProviderUnavailable("gone"), failures=2, tries=3, run=a_run(job, outcome="failed"))
