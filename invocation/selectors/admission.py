"""What admission needs to know: live slots, what is in flight, who waits, what is held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Sum

from invocation.domain.batches import ShardState
from invocation.domain.jobs import IN_FLIGHT
from invocation.domain.turns import OPEN
from invocation.gateways import statements
from invocation.models import Hold, Job, Process, Shard, Turn
from invocation.models.admission import HoldScope
from quota.domain.classes import PriorityClass

# Everything that a round must know, in one look. The ring of tenants is a loose index scan: one
# step a tenant, whatever number of jobs each has queued; it begins behind `after` and goes round.
SCENE = """
WITH RECURSIVE ring AS (
    (SELECT tenant_id, 1 AS seat, FALSE AS again FROM invocation_job
     WHERE state = 'queued' AND NOT is_behind AND priority_class = %(class)s AND tenant_id > %(after)s
     ORDER BY tenant_id LIMIT 1)
  UNION ALL
    SELECT (SELECT job.tenant_id FROM invocation_job AS job
            WHERE job.state = 'queued' AND NOT job.is_behind AND job.priority_class = %(class)s AND job.tenant_id > ring.tenant_id
            ORDER BY job.tenant_id LIMIT 1), ring.seat + 1, FALSE
    FROM ring WHERE ring.tenant_id IS NOT NULL AND ring.seat < %(most)s
),
start AS (
    (SELECT tenant_id, 1 AS seat FROM invocation_job
     WHERE state = 'queued' AND NOT is_behind AND priority_class = %(class)s AND tenant_id <= %(after)s
     ORDER BY tenant_id LIMIT 1)
  UNION ALL
    SELECT (SELECT job.tenant_id FROM invocation_job AS job
            WHERE job.state = 'queued' AND NOT job.is_behind AND job.priority_class = %(class)s
              AND job.tenant_id > start.tenant_id AND job.tenant_id <= %(after)s
            ORDER BY job.tenant_id LIMIT 1), start.seat + 1
    FROM start WHERE start.tenant_id IS NOT NULL AND start.seat < %(most)s
)
SELECT
    (SELECT coalesce(sum(slots), 0) FROM invocation_process
     WHERE priority_class = %(class)s AND lease_until > %(now)s AND NOT is_draining),
    (SELECT count(*) FROM invocation_process
     WHERE priority_class = %(class)s AND lease_until > %(now)s AND NOT is_draining AND slots > 0),
    (SELECT json_object_agg(scope, held) FROM (
        SELECT scope, json_agg(value) AS held FROM invocation_hold WHERE released_at IS NULL GROUP BY scope) AS holds),
    (SELECT json_object_agg(tenant_id, jobs) FROM (
        SELECT tenant_id, count(*) AS jobs FROM invocation_job
        WHERE priority_class = %(class)s AND state IN ('dispatched', 'working', 'cancelling') GROUP BY tenant_id) AS flying),
    ARRAY(SELECT tenant_id FROM ring WHERE tenant_id IS NOT NULL ORDER BY seat)
      || ARRAY(SELECT tenant_id FROM start WHERE tenant_id IS NOT NULL AND (SELECT count(tenant_id) FROM ring) < %(most)s ORDER BY seat)
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A class as a round finds it: slots and who has them, holds by scope, jobs in flight by tenant, and who waits, in ring order."""

    slots: int
    processes: int
    held: Mapping[HoldScope, frozenset[str]]
    in_flight: Counter[UUID]
    waiting: Sequence[UUID]

    @property
    def free(self) -> int:
        return max(0, self.slots - self.in_flight.total())


def scene(priority_class: str, *, after: UUID, most: int, now: datetime) -> Scene:
    """Look at a class; `most` tenants that wait, from behind `after`."""
    given = {"class": str(priority_class), "after": after, "most": most, "now": now}
    [(slots, processes, held, flying, ring)] = statements.rows(SCENE, given)
    return Scene(
        slots=int(slots),
        processes=processes,
        held={scope: frozenset((held or {}).get(scope, ())) for scope in HoldScope},
        in_flight=Counter({UUID(tenant): jobs for tenant, jobs in (flying or {}).items()}),
        waiting=ring[:most],
    )


def live_slots(*, now: datetime) -> Counter[str]:
    """Return the slots of living, undrained workers by priority class."""
    rows = Process.objects.filter(lease_until__gt=now, is_draining=False).values_list("priority_class").annotate(Sum("slots"))
    return Counter(dict(rows))


def open_turns() -> int:
    return Turn.objects.filter(state__in=OPEN).count()


def open_turns_of(tenant_id: UUID) -> int:
    return Turn.objects.filter(tenant_id=tenant_id, state__in=OPEN).count()


def held(scope: HoldScope) -> list[str]:
    """Return what is held in a scope."""
    return list(Hold.objects.filter(scope=scope, released_at__isnull=True).values_list("value", flat=True))


def open_holds() -> frozenset[tuple[HoldScope, str]]:
    """Return all that is held."""
    found = Hold.objects.filter(released_at__isnull=True)
    return frozenset((HoldScope(scope), value) for scope, value in found.values_list("scope", "value"))


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
