"""How long a queued job may wait: its place among the queued of its class, and what the class was measured to serve."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar, cast

from django.db.models import QuerySet

from invocation.domain.jobs import JobState
from invocation.models import Job, RunRecord
from invocation.selectors.admission import live_slots

F = TypeVar("F")

MOST_AHEAD = 1_000
"""The count stops here: a place of 1000 means that or more."""
RUNS_MEASURED = 200
LATELY = timedelta(minutes=10)
FRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A queued job's place (1 is next) and the seconds until it is done; None where nothing was measured yet."""

    queue_position: int | None
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class _Pace:
    """Runs a second that the class serves, and how long one takes."""

    rate: float
    run_s: float


UNKNOWN = Estimate(None, None)


def of_new(priority_class: str, mode: str, *, now: datetime) -> Estimate:
    """Estimate for a job just accepted, from figures at most a second old."""
    return _estimate(_remembered(("depth", priority_class), lambda: _depth(priority_class)), priority_class, mode, now=now)


def of_job(job: Job, *, now: datetime) -> Estimate:
    """Estimate for a job as it stands; unknown once it is no longer queued."""
    if job.state != JobState.QUEUED:
        return UNKNOWN
    ahead = Job.objects.filter(state=JobState.QUEUED, priority_class=job.priority_class, pk__lte=job.pk)
    return _estimate(_bounded(ahead), job.priority_class, job.mode, now=now)


def _estimate(place: int, priority_class: str, mode: str, *, now: datetime) -> Estimate:
    pace = _remembered(("pace", priority_class), lambda: _pace(priority_class, mode, now=now))
    if pace is None or place >= MOST_AHEAD:
        return Estimate(place, None)
    return Estimate(place, round(max(0, place - 1) / pace.rate + pace.run_s, 1))


def _depth(priority_class: str) -> int:
    return _bounded(Job.objects.filter(state=JobState.QUEUED, priority_class=priority_class))


def _bounded(jobs: QuerySet[Job]) -> int:
    return len(jobs.values_list("pk", flat=True)[:MOST_AHEAD])


def _pace(priority_class: str, mode: str, *, now: datetime) -> _Pace | None:
    lengths = RunRecord.objects.filter(mode=mode, finished_at__gt=now - LATELY).order_by("-finished_at")
    measured = list(lengths.values_list("duration_ms", flat=True)[:RUNS_MEASURED])
    slots = live_slots(now=now)[priority_class]
    if not measured or not slots:
        return None
    run_s = max(sum(measured) / len(measured) / 1000, 0.001)
    return _Pace(slots / run_s, run_s)


_figures: dict[tuple[str, str], tuple[float, object]] = {}


def _remembered(name: tuple[str, str], measure: Callable[[], F]) -> F:
    """Return a figure at most a second old; threads that race measure twice, which is harmless."""
    found = _figures.get(name)
    if found is None or time.monotonic() - found[0] > FRESH_S:
        found = _figures[name] = (time.monotonic(), measure())
    return cast(F, found[1])


def forget() -> None:
    """Make the next question measure again."""
    _figures.clear()
