"""What operations watch: how much waits in each class, for how long, and how many slots live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min

from invocation.domain.batches import BATCH_OPEN, ShardState
from invocation.domain.jobs import IN_FLIGHT, JobState
from invocation.domain.modes import POLICIES
from invocation.domain.turns import TurnState
from invocation.models import Job, Process, Shard, Turn
from invocation.selectors.admission import live_slots
from quota.domain.classes import PriorityClass


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits in one class and mode: how many, and the oldest's age in seconds."""

    priority_class: str
    mode: str
    waiting: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Slots:
    """The living workers of one class: processes, the slots that they have, and those in use."""

    priority_class: str
    processes: int
    slots: int
    in_use: int


def depths(*, now: datetime) -> list[Depth]:
    """Return one line a mode, in the order of the classes; an empty queue has age 0."""
    waiting = _waiting_jobs() | _waiting_turns() | _waiting_shards()
    lines = []
    for mode, terms in POLICIES.items():
        count, since = waiting.get(str(terms.priority_class), (0, None))
        age = max(0.0, (now - since).total_seconds()) if since else 0.0
        lines.append(Depth(str(terms.priority_class), str(mode), count, age))
    return sorted(lines, key=lambda line: line.priority_class)


def slots(*, now: datetime) -> list[Slots]:
    """Return one line a class."""
    alive = Process.objects.filter(lease_until__gt=now)
    processes = dict(alive.values_list("priority_class").annotate(Count("id")))
    free = live_slots(now=now)
    used = _in_use()
    classes = sorted({str(terms.priority_class) for terms in POLICIES.values()})
    return [Slots(name, processes.get(name, 0), free[name], used.get(name, 0)) for name in classes]


def _in_use() -> dict[str, int]:
    jobs = Job.objects.filter(state__in=IN_FLIGHT).values_list("priority_class").annotate(Count("id"))
    turns = Turn.objects.filter(state=TurnState.WORKING).count()
    return {**dict(jobs), PriorityClass.P0.value: turns, PriorityClass.P3.value: Shard.objects.filter(state=ShardState.WORKING).count()}


def _waiting_jobs() -> dict[str, tuple[int, datetime | None]]:
    rows = Job.objects.filter(state=JobState.QUEUED).values_list("priority_class").annotate(Count("id"), Min("queued_at"))
    return {name: (count, oldest) for name, count, oldest in rows}


def _waiting_turns() -> dict[str, tuple[int, datetime | None]]:
    found = Turn.objects.filter(state=TurnState.QUEUED).aggregate(count=Count("id"), oldest=Min("received_at"))
    return {PriorityClass.P0.value: (found["count"], found["oldest"])}


def _waiting_shards() -> dict[str, tuple[int, datetime | None]]:
    waiting = Shard.objects.filter(state=ShardState.QUEUED, batch__state__in=BATCH_OPEN)
    found = waiting.aggregate(count=Count("id"), oldest=Min("batch__created_at"))
    return {PriorityClass.P3.value: (found["count"], found["oldest"])}
