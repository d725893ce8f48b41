"""What admission needs to know: live slots, what is in flight, who waits, what is held."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import Count, Sum

from invocation.domain.batches import ShardState
from invocation.domain.jobs import IN_FLIGHT
from invocation.domain.turns import OPEN
from invocation.models import Hold, Job, Process, Shard, Turn
from invocation.models.admission import HoldScope
from quota.domain.classes import PriorityClass

# A loose index scan: one step a tenant, whatever number of jobs each has queued.
WAITING_TENANTS = """
WITH RECURSIVE ring AS (
    (SELECT tenant_id FROM invocation_job WHERE state = 'queued' AND priority_class = %(class)s AND tenant_id > %(after)s
     ORDER BY tenant_id LIMIT 1)
  UNION ALL
    SELECT (SELECT job.tenant_id FROM invocation_job AS job
            WHERE job.state = 'queued' AND job.priority_class = %(class)s AND job.tenant_id > ring.tenant_id
            ORDER BY job.tenant_id LIMIT 1)
    FROM ring WHERE ring.tenant_id IS NOT NULL
)
SELECT tenant_id FROM ring WHERE tenant_id IS NOT NULL LIMIT %(most)s
"""


def live_slots(*, now: datetime) -> Counter[str]:
    """Return the slots of living, undrained workers by priority class."""
    rows = Process.objects.filter(lease_until__gt=now, is_draining=False).values_list("priority_class").annotate(Sum("slots"))
    return Counter(dict(rows))


def in_flight(priority_class: str) -> Counter[UUID]:
    """Return the jobs dispatched or at work in a class, by tenant."""
    rows = Job.objects.filter(priority_class=priority_class, state__in=IN_FLIGHT).values_list("tenant_id").annotate(Count("id"))
    return Counter(dict(rows))


def waiting_tenants(priority_class: str, *, after: UUID, most: int) -> list[UUID]:
    """Return up to `most` tenants with queued jobs, in ring order from behind `after`."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING_TENANTS, {"class": priority_class, "after": after, "most": most})
        return [row[0] for row in cursor.fetchall()]


def open_turns() -> int:
    return Turn.objects.filter(state__in=OPEN).count()


def held(scope: HoldScope) -> list[str]:
    """Return what is held in a scope."""
    return list(Hold.objects.filter(scope=scope, released_at__isnull=True).values_list("value", flat=True))


def hold_on(*, endpoint: str, agent: str, tenant_id: UUID, priority_class: str) -> Hold | None:
    """Return a hold that keeps such an invocation out, if there is one."""
    named = {HoldScope.ENDPOINT: endpoint, HoldScope.AGENT: agent, HoldScope.TENANT: str(tenant_id), HoldScope.CLASS: priority_class}
    open_holds = Hold.objects.filter(released_at__isnull=True)
    return next((hold for hold in open_holds if named[HoldScope(hold.scope)] == hold.value), None)


def in_flight_of(tenant_id: UUID) -> Counter[str]:
    """Return what a tenant has in flight, by class: open turns, jobs dispatched or at work, shards at work."""
    jobs = Job.objects.filter(tenant_id=tenant_id, state__in=IN_FLIGHT).values_list("priority_class").annotate(Count("id"))
    turns = Turn.objects.filter(tenant_id=tenant_id, state__in=OPEN).count()
    shards = Shard.objects.filter(batch__tenant_id=tenant_id, state=ShardState.WORKING).count()
    return Counter(dict(jobs)) + Counter({PriorityClass.P0: turns, PriorityClass.P3: shards})
