"""Redrives for tests: opened, swept second by second, and counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from invocation.domain.redrives import Match
from invocation.models import Job, Redrive
from invocation.selectors import redrives as seen
from invocation.services import redrives
from invocation.services.redrives import Opening
from tests.integration.invocation.rows import NOW

SECOND = timedelta(seconds=1)
LATER = NOW + SECOND


def opened(*, now: datetime = NOW, **terms: Any) -> Redrive:
    wanted = {"by": "a test", "reason": "the provider is back", **terms}
    if "job_ids" not in wanted:
        wanted.setdefault("match", Match())
    return redrives.open_redrive(Opening(**wanted), now=now)


def again(redrive: Redrive) -> Redrive:
    return seen.any_redrive(redrive.pk)


def finished(redrive: Redrive, *, now: datetime = NOW) -> Redrive:
    """Sweep, a second a sweep, until the redrive has ended."""
    for _ in range(20):
        now += SECOND
        redrives.sweep(now=now)
        if not seen.is_open(again(redrive)):
            return again(redrive)
    raise AssertionError("the redrive did not end")


def successors() -> set[UUID]:
    return set(Job.objects.filter(redrive_of__isnull=False).values_list("redrive_of_id", flat=True))


def counts(redrive: Redrive) -> tuple[str, int, int, int]:
    row = again(redrive)
    return row.state, row.total, row.done, row.refused
