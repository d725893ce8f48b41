"""A client of the submission service: one process, one statement a job, as `.delay()` is one message a task."""

# ruff: noqa: E402  (Django before what needs it)

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle
from typing import Any
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from invocation.gateways import declared
from invocation.models import Job
from invocation.models.admission import HoldScope
from invocation.services import holds, jobs
from invocation.services.submission import Submission, submit
from quota.domain.classes import PriorityClass
from quota.services import keys
from tests.benchmarks.staging.pacing import moments


def tenants(*, names: Sequence[str], plan: str) -> list[dict[str, str]]:
    """Make tenants and a key of each."""
    made = (keys.create(tenant_name=name, plan=plan, now=datetime.now(UTC)) for name in names)
    return [{"id": str(tenant.pk), "key": key} for tenant, key in made]


def submitted(
    *, tenant_ids: Sequence[str], count: int, endpoint: str, given: Mapping[str, Any], mean_gap_s: float, least_gap_s: float, seed: int
) -> dict[str, float]:
    """Submit `count` jobs, of the tenants in turn; tell when the first was begun and the last accepted."""
    found, owners = declared.book().find(endpoint), cycle([UUID(tenant_id) for tenant_id in tenant_ids])
    began = time.time()
    for _ in moments(count, mean_gap_s=mean_gap_s, least_gap_s=least_gap_s, seed=seed):
        submit(Submission(tenant_id=next(owners), endpoint=found, input=given), now=datetime.now(UTC))
    return {"began": began, "ended": time.time()}


def cancelled(*, tenant_id: str) -> int:
    """Cancel all that the tenant has open."""
    found = list(Job.objects.filter(tenant_id=tenant_id, finished_at=None).values_list("pk", flat=True))
    for job_id in found:
        jobs.cancel(job_id, reason="benchmark", now=datetime.now(UTC))
    return len(found)


def held() -> int:
    """Let no job of the benchmarks' class in; return the hold's id."""
    return int(holds.hold(HoldScope.CLASS, str(PriorityClass.P1), reason="benchmark", by=None, now=datetime.now(UTC)).pk)


def released(*, hold_id: int) -> None:
    holds.release(hold_id, by=None, now=datetime.now(UTC))


ACTS: Mapping[str, Callable[..., Any]] = {"tenants": tenants, "submit": submitted, "cancel": cancelled, "hold": held, "release": released}
