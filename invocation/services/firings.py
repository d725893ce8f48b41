"""Firings: the one writer of their state, which follows their job's."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from invocation.domain.schedules import FIRING_EDGES, FiringMove
from invocation.models import Firing


def follow(job_id: UUID, move: FiringMove, *, now: datetime) -> None:
    """End the firing that made this job, if one did. Called again it changes nothing. Joins the caller's transaction."""
    edge = FIRING_EDGES[move]
    Firing.objects.filter(job_id=job_id, state__in=edge.sources).update(state=edge.target, finished_at=now)
