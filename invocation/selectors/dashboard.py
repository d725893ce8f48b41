"""The figures of the admin's first page: what ran by mode and hour, what waits, and which slots are taken."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count, F, Min

from invocation.domain.batches import BATCH_OPEN, ShardState
from invocation.domain.jobs import HELD_BY_A_WORKER, JobState
from invocation.domain.modes import Mode, policy
from invocation.domain.outcomes import RunOutcome
from invocation.domain.turns import TurnState
from invocation.models import Job, Shard, Turn
from invocation.selectors.admission import live_slots
from quota.domain.classes import PriorityClass

FAILED = [str(RunOutcome.FAILED)]
"""The outcomes of a run that did not end as it should; one that an agent declined or a person stopped did."""

RUNS = """
SELECT mode, count(*) AS runs, count(*) FILTER (WHERE outcome = ANY(%(failed)s)) AS failures, sum(cost_usd) AS cost,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY first_delta_ms) AS first_delta,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms) AS duration
FROM invocation_runrecord WHERE mode = ANY(%(modes)s) AND finished_at >= %(since)s GROUP BY mode
"""
# A batch's rows are counted by its shards; their durations are read of the newest rows only, whatever their number.
ROWS = """
WITH newest AS (SELECT batch_id, duration_ms, at FROM invocation_batchrow ORDER BY id DESC LIMIT 10000),
took AS (
    SELECT mode, percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms) AS duration
    FROM newest JOIN invocation_batch AS batch ON batch.id = batch_id WHERE at >= %(since)s GROUP BY mode),
made AS (
    SELECT mode, sum(position) AS runs, sum(failed_rows) AS failures, sum(cost_usd) AS cost
    FROM invocation_shard AS shard JOIN invocation_batch AS batch ON batch.id = batch_id
    WHERE shard.started_at >= %(since)s GROUP BY mode)
SELECT mode, runs, failures, cost, NULL::float[] AS first_delta, duration FROM made LEFT JOIN took USING (mode)
"""
HOURS = """
SELECT mode, date_trunc('hour', finished_at) AS hour, count(*) AS runs, count(*) FILTER (WHERE outcome = ANY(%(failed)s)) AS failures
FROM invocation_runrecord WHERE mode = ANY(%(modes)s) AND finished_at >= %(since)s GROUP BY 1, 2
UNION ALL
SELECT mode, date_trunc('hour', coalesce(shard.finished_at, %(now)s)), sum(position), sum(failed_rows)
FROM invocation_shard AS shard JOIN invocation_batch AS batch ON batch.id = batch_id WHERE shard.started_at >= %(since)s GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeFigures:
    """What ran in one mode. Lengths are milliseconds, median and 95th percentile; None where nothing was measured."""

    mode: Mode
    runs: int
    failures: int
    cost_usd: Decimal
    first_delta: tuple[float, float] | None
    duration: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """What waits and what is at work in one priority class."""

    priority_class: PriorityClass
    depth: int
    oldest_at: datetime | None
    slots: int
    used: int


@dataclass(frozen=True, slots=True)
class HourFigures:
    """Runs that ended within one hour, and those of them that failed."""

    runs: int
    failures: int


def modes(*, since: datetime) -> list[ModeFigures]:
    """Return every mode's figures since a moment, in the order of the mode table."""
    found = {row["mode"]: row for row in _rows(RUNS, since=since) + _rows(ROWS, since=since)}
    return [_mode_figures(mode, found.get(str(mode))) for mode in Mode]


def hours(*, since: datetime, now: datetime) -> Mapping[str, Mapping[datetime, HourFigures]]:
    """Return, by mode and hour (UTC), what ended; an hour without runs is missing."""
    found: defaultdict[str, dict[datetime, HourFigures]] = defaultdict(dict)
    for row in _rows(HOURS, since=since, now=now):
        found[row["mode"]][row["hour"]] = HourFigures(int(row["runs"]), int(row["failures"]))
    return found


def classes(*, now: datetime) -> list[ClassFigures]:
    """Return every class's queue and slots now."""
    waiting, used, slots = _waiting(), _used(), live_slots(now=now)
    return [
        ClassFigures(
            priority_class=each,
            depth=sum(depth for depth, _ in waiting[each]),
            oldest_at=min((oldest for _, oldest in waiting[each]), default=None),
            slots=slots[each],
            used=used[each],
        )
        for each in PriorityClass
    ]


def _waiting() -> Mapping[str, Sequence[tuple[int, datetime]]]:
    found: defaultdict[str, list[tuple[int, datetime]]] = defaultdict(list)
    jobs = Job.objects.filter(state=JobState.QUEUED).values_list("priority_class")
    turns = Turn.objects.filter(state=TurnState.QUEUED).values_list("mode")
    shards = Shard.objects.filter(state=ShardState.QUEUED, batch__state__in=BATCH_OPEN).values_list("batch__mode")
    for name, depth, oldest in jobs.annotate(Count("id"), Min("queued_at")):
        found[name].append((depth, oldest))
    for mode, depth, oldest in [*turns.annotate(Count("id"), Min("received_at")), *shards.annotate(Count("id"), Min("batch__created_at"))]:
        found[_class_of(mode)].append((depth, oldest))
    return found


def _used() -> Counter[str]:
    jobs = Job.objects.filter(state__in=HELD_BY_A_WORKER).values_list("priority_class").annotate(Count("id"))
    turns = Turn.objects.filter(state=TurnState.WORKING).values_list("mode").annotate(Count("id"))
    shards = Shard.objects.filter(state=ShardState.WORKING).values_list(F("batch__mode")).annotate(Count("id"))
    return Counter(dict(jobs)) + _by_class(turns) + _by_class(shards)


def _by_class(counted: Iterable[tuple[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for mode, count in counted:
        found[_class_of(mode)] += count
    return found


def _class_of(mode: str) -> str:
    return str(policy(Mode(mode)).priority_class)


def _mode_figures(mode: Mode, row: Mapping[str, Any] | None) -> ModeFigures:
    if row is None:
        return ModeFigures(mode=mode, runs=0, failures=0, cost_usd=Decimal(0), first_delta=None, duration=None)
    return ModeFigures(
        mode=mode,
        runs=int(row["runs"]),
        failures=int(row["failures"]),
        cost_usd=row["cost"],
        first_delta=_pair(row["first_delta"]),
        duration=_pair(row["duration"]),
    )


def _pair(found: Sequence[float | None] | None) -> tuple[float, float] | None:
    median, worst = found or (None, None)
    return None if median is None or worst is None else (median, worst)


def _rows(statement: str, **given: Any) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"failed": FAILED, "modes": [str(mode) for mode in Mode], **given})
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
