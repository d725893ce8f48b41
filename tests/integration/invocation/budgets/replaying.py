"""A job that has ended as if it had not: its journal is there, and it is queued again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from invocation.models import Job


def again(job_id: UUID, **columns: Any) -> None:
    Job.objects.get(pk=job_id).result.delete()
    Job.objects.filter(pk=job_id).update(state="queued", finished_at=None, **columns)
