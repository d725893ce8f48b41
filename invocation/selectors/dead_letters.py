"""What is read of dead letters: failed jobs of the modes whose failure policy keeps them."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from invocation.domain.jobs import JobState
from invocation.domain.modes import POLICIES, FailurePolicy
from invocation.models import DeadLetter, RunRecord

KEPT_MODES = [str(mode) for mode, terms in POLICIES.items() if terms.failure is FailurePolicy.DEAD_LETTER]
SLO_SHARE = 0.0005
"""Of a day's volume at most this share may end as dead letters."""


def dead_letters() -> QuerySet[DeadLetter]:
    return kept(DeadLetter.objects.all())


def kept(rows: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
    """Narrow jobs to those that are dead letters."""
    return rows.filter(state=JobState.FAILED, mode__in=KEPT_MODES)


def share(*, since: datetime) -> tuple[int, int]:
    """Return how many jobs became dead letters since a moment, and how many ended at all in their modes."""
    dead = dead_letters().filter(finished_at__gte=since).count()
    done = RunRecord.objects.filter(mode__in=KEPT_MODES, finished_at__gte=since, outcome="completed").count()
    return dead, dead + done
