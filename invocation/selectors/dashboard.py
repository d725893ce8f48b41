"""The figures of the admin's first page: what ran by mode and hour, what waits, and which slots are taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connections

from invocation.domain.modes import Mode
from invocation.domain.outcomes import RunOutcome
from invocation.domain.slo import Sample, eta
from invocation.gateways.database import BATCH, DEFAULT
from invocation.selectors import depth, slo
from quota.domain.classes import PriorityClass

FAILED = [str(RunOutcome.FAILED)]
"""The outcomes of a run that did not end as it should; one that an agent declined or a person stopped did."""
LATELY = timedelta(hours=1)

RUNS = """
SELECT mode, count(*) AS runs, count(*) FILTER (WHERE outcome = ANY(%(failed)s)) AS failures, sum(cost_usd) AS cost,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY first_delta_ms) AS first_delta,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms) AS duration
FROM invocation_runrecord WHERE mode = ANY(%(modes)s) AND finished_at >= %(since)s GROUP BY mode
"""
# A batch's rows are counted by its shards; how long each took stands in the dataset alone.
ROWS = """
SELECT mode, sum(position) AS runs, sum(failed_rows) AS failures, sum(cost_usd) AS cost,
    NULL::float[] AS first_delta, NULL::float[] AS duration
FROM invocation_shard AS shard JOIN invocation_batch AS batch ON batch.id = batch_id WHERE shard.started_at >= %(since)s GROUP BY mode
"""
HOURS = """
SELECT mode, date_trunc('hour', finished_at) AS hour, count(*) AS runs, count(*) FILTER (WHERE outcome = ANY(%(failed)s)) AS failures
FROM invocation_runrecord WHERE mode = ANY(%(modes)s) AND finished_at >= %(since)s GROUP BY 1, 2
"""
HOURS_OF_ROWS = """
SELECT mode, date_trunc('hour', coalesce(shard.finished_at, %(now)s)) AS hour, sum(position) AS runs, sum(failed_rows) AS failures
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
    """What waits and what is at work in one priority class, and how it was in the last hour, minute by minute, the newest last."""

    priority_class: PriorityClass
    depth: int
    oldest_at: datetime | None
    slots: int
    used: int
    lately: Sequence[Sample]

    @property
    def eta(self) -> timedelta | None:
        """When what waits now would be done at the pace of the last ten minutes."""
        return eta(self.lately, depth=self.depth)


@dataclass(frozen=True, slots=True)
class HourFigures:
    """Runs that ended within one hour, and those of them that failed."""

    runs: int
    failures: int


def modes(*, since: datetime) -> list[ModeFigures]:
    """Return every mode's figures since a moment, in the order of the mode table."""
    found = {row["mode"]: row for row in _rows(RUNS, since=since) + _rows(ROWS, using=BATCH, since=since)}
    return [_mode_figures(mode, found.get(str(mode))) for mode in Mode]


def hours(*, since: datetime, now: datetime) -> Mapping[str, Mapping[datetime, HourFigures]]:
    """Return, by mode and hour (UTC), what ended; an hour without runs is missing."""
    found: defaultdict[str, dict[datetime, HourFigures]] = defaultdict(dict)
    for row in _rows(HOURS, since=since) + _rows(HOURS_OF_ROWS, using=BATCH, since=since, now=now):
        found[row["mode"]][row["hour"]] = HourFigures(int(row["runs"]), int(row["failures"]))
    return found


def classes(*, now: datetime) -> list[ClassFigures]:
    """Return every class's queue and slots now, and its last hour."""
    waiting = {line.priority_class: line for line in depth.depths()}
    slots = {line.priority_class: line for line in depth.slots(now=now)}
    lately = slo.history(since=now - LATELY)
    return [
        ClassFigures(
            priority_class=each,
            depth=waiting[each].waiting,
            oldest_at=waiting[each].oldest_at,
            slots=slots[each].slots,
            used=slots[each].in_use,
            lately=lately.get(each, ()),
        )
        for each in PriorityClass
    ]


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


def _rows(statement: str, *, using: str = DEFAULT, **given: Any) -> list[dict[str, Any]]:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, {"failed": FAILED, "modes": [str(mode) for mode in Mode], **given})
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
