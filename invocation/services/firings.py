"""Firings: the one writer of their state, which follows their job's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from invocation.domain.jobs import JobState
from invocation.domain.modes import POLICIES, Transport
from invocation.domain.schedules import FIRING_EDGES, FiringMove
from invocation.gateways import statements
from invocation.services.lifecycle import Moved

ENDS: Mapping[JobState, FiringMove] = MappingProxyType(
    {JobState.COMPLETED: FiringMove.COMPLETE, JobState.FAILED: FiringMove.FAIL, JobState.CANCELLED: FiringMove.CANCEL}
)


FIRED = frozenset(str(policy.priority_class) for policy in POLICIES.values() if policy.transport is Transport.SCHEDULE)

FOLLOW = """
UPDATE invocation_firing SET state = %(target)s, finished_at = %(now)s
WHERE job_id = ANY(%(ids)s::uuid[]) AND state = ANY(%(sources)s::text[])
"""


def follow(job_ids: Sequence[UUID], move: FiringMove, *, now: datetime) -> None:
    """End the firings that made these jobs, where one did. Called again it changes nothing. Joins the caller's transaction."""
    edge = FIRING_EDGES[move]
    sources = [str(state) for state in edge.sources]
    statements.rows(FOLLOW, {"ids": list(job_ids), "target": str(edge.target), "sources": sources, "now": now})


def follow_all(ended: Sequence[Moved], *, now: datetime) -> None:
    """End the firings of jobs that took one terminal edge together; only the classes of schedules have any."""
    fired = [job.id for job in ended if job.priority_class in FIRED]
    if fired:
        follow(fired, ENDS[ended[0].state], now=now)
