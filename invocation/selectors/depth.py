"""What operations watch: how much waits in each class, for how long, and how many slots live. The cost does not grow with the backlog."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Count, Exists, Min, OuterRef

from invocation.domain.batches import BATCH_OPEN, ShardState
from invocation.domain.jobs import IN_FLIGHT
from invocation.domain.modes import POLICIES, ModePolicy
from invocation.domain.turns import TurnState
from invocation.models import Batch, Job, Process, Shard, Turn
from invocation.selectors.admission import live_slots
from quota.domain.classes import PriorityClass

MOST_COUNTED = 10_000
"""So many are counted; beyond, the planner's estimate stands for the number."""
MOST_TENANTS = 2_000
"""The oldest is looked for among so many waiting tenants."""

READY = "FROM invocation_job WHERE state = 'queued' AND NOT is_behind AND priority_class = %(class)s"
COUNTED = f"SELECT count(*) FROM (SELECT 1 {READY} LIMIT %(most)s) AS counted"  # noqa: S608  (constants, here and below)
ESTIMATED = f"EXPLAIN (FORMAT JSON) SELECT 1 {READY}"
# One step of a loose index scan a tenant: the first of its resumed jobs (rank 0) and the first of its others are its oldest.
OLDEST = f"""
WITH RECURSIVE ring AS (
    (SELECT tenant_id, queued_at {READY} ORDER BY tenant_id, rank, id LIMIT 1)
  UNION ALL
    SELECT head.tenant_id, head.queued_at FROM ring CROSS JOIN LATERAL (
        SELECT tenant_id, queued_at {READY} AND tenant_id > ring.tenant_id ORDER BY tenant_id, rank, id LIMIT 1
    ) AS head
)
SELECT min(least(heads.queued_at, fresh.queued_at)) FROM (SELECT * FROM ring LIMIT %(tenants)s) AS heads LEFT JOIN LATERAL (
    SELECT queued_at {READY} AND tenant_id = heads.tenant_id AND rank = 1 ORDER BY id LIMIT 1
) AS fresh ON TRUE
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits in one class and mode: how many, and since when the oldest does.

    A job behind another of its ordering key is not among them: it is not for a slot that it waits.
    """

    priority_class: str
    mode: str
    waiting: int
    oldest_at: datetime | None

    def oldest_s(self, *, now: datetime) -> float:
        """Return the oldest's age in seconds; 0 where nothing waits."""
        return max(0.0, (now - self.oldest_at).total_seconds()) if self.oldest_at else 0.0


@dataclass(frozen=True, slots=True)
class Slots:
    """The living workers of one class: processes, the slots that they have, and those in use."""

    priority_class: str
    processes: int
    slots: int
    in_use: int


def depths() -> list[Depth]:
    """Return one line a mode, in the order of the classes. Numbers are exact up to MOST_COUNTED and estimated beyond."""
    waiting = {PriorityClass.P0.value: _waiting_turns(), PriorityClass.P3.value: _waiting_shards()}
    terms = sorted(POLICIES.values(), key=_class_of)
    return [Depth(_class_of(each), str(each.mode), *(waiting.get(_class_of(each)) or _waiting_jobs(_class_of(each)))) for each in terms]


def slots(*, now: datetime) -> list[Slots]:
    """Return one line a class."""
    alive = Process.objects.filter(lease_until__gt=now)
    processes = dict(alive.values_list("priority_class").annotate(Count("id")))
    live, used = live_slots(now=now), _in_use()
    return [Slots(name, processes.get(name, 0), live[name], used[name]) for name in sorted(map(_class_of, POLICIES.values()))]


def _class_of(terms: ModePolicy) -> str:
    return str(terms.priority_class)


def _in_use() -> Counter[str]:
    jobs = Job.objects.filter(state__in=IN_FLIGHT).values_list("priority_class").annotate(Count("id"))
    turns = Turn.objects.filter(state=TurnState.WORKING).count()
    shards = Shard.objects.filter(owner__isnull=False).count()
    return Counter({**dict(jobs), PriorityClass.P0.value: turns, PriorityClass.P3.value: shards})


Waiting = tuple[int, datetime | None]


def _waiting_jobs(priority_class: str) -> Waiting:
    with connection.cursor() as cursor:
        cursor.execute(OLDEST, {"class": priority_class, "tenants": MOST_TENANTS})
        (oldest,) = cursor.fetchone()
        cursor.execute(COUNTED, {"class": priority_class, "most": MOST_COUNTED})
        (count,) = cursor.fetchone()
        if count == MOST_COUNTED:
            cursor.execute(ESTIMATED, {"class": priority_class})
            count = max(count, _rows_of(cursor.fetchone()[0]))
    return count, oldest


def _rows_of(plan: str | list[dict[str, dict[str, int]]]) -> int:
    [found] = json.loads(plan) if isinstance(plan, str) else plan
    return int(found["Plan"]["Plan Rows"])


def _waiting_turns() -> Waiting:
    found = Turn.objects.filter(state=TurnState.QUEUED).aggregate(count=Count("id"), oldest=Min("received_at"))
    return found["count"], found["oldest"]


def _waiting_shards() -> Waiting:
    """A batch that has begun does not wait, though some of its shards do."""
    waiting = Shard.objects.filter(state=ShardState.QUEUED, batch__state__in=BATCH_OPEN)
    begun = Shard.objects.filter(batch=OuterRef("pk"), started_at__isnull=False)
    oldest = Batch.objects.filter(~Exists(begun), state__in=BATCH_OPEN).aggregate(at=Min("created_at"))
    return len(waiting.values_list("pk", flat=True)[:MOST_COUNTED]), oldest["at"]
