"""Bars of a small chart, as numbers for an inline SVG: one bar an hour, failures on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from invocation.domain.slo import EMPTIEST, FULLEST, Sample
from invocation.selectors.dashboard import HourFigures

HOURS = 24
HEIGHT = 40
STEP = 10
BAR = 8
EMPTY = HourFigures(0, 0)
MINUTES = 60
MINUTE = timedelta(minutes=1)
MINUTE_STEP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One hour: where its good and its failed part stand, in the chart's own units, and what it says on hover."""

    x: int
    good_y: float
    good_height: float
    bad_y: float
    bad_height: float
    title: str


def by_hour(hours: Mapping[datetime, HourFigures], *, now: datetime) -> list[Bar]:
    """Return the bars of the last 24 hours, the running one last, scaled to the tallest."""
    shown = _shown(now)
    most = max((hours.get(hour, EMPTY).runs for hour in shown), default=0) or 1
    return [_bar(index, hour, hours.get(hour, EMPTY), most) for index, hour in enumerate(shown)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One minute of a class: how high its used slots stand, whether that is inside the band, and what it says on hover."""

    x: int
    y: float
    height: float
    tone: str
    title: str


def by_minute(samples: Sequence[Sample], *, now: datetime) -> list[Use]:
    """Return the use of a class's slots in the last hour, the newest minute last; a minute without a record has no bar."""
    found = {int((now - sample.at) / MINUTE): sample for sample in samples}
    return [_use(MINUTES - 1 - ago, sample) for ago, sample in sorted(found.items(), reverse=True) if 0 <= ago < MINUTES]


def band() -> tuple[float, float]:
    """Return where the band of good use begins from above, and its height."""
    return HEIGHT * (1 - FULLEST), HEIGHT * (FULLEST - EMPTIEST)


def _use(place: int, sample: Sample) -> Use:
    used = min(1.0, sample.busy / sample.slots) if sample.slots else 0.0
    tone = "bad" if used > FULLEST else "good" if used >= EMPTIEST else "calm"
    return Use(
        x=place * MINUTE_STEP,
        y=HEIGHT * (1 - used),
        height=HEIGHT * used,
        tone=tone,
        title=f"{sample.at:%H:%M}: {sample.busy:,} of {sample.slots:,} slots, {sample.depth:,} waiting",
    )


def legend(*, now: datetime) -> tuple[str, str, str]:
    """Return what stands below the chart: its first hour, its middle and its end."""
    shown = _shown(now)
    return f"{shown[0]:%H:%M}", f"{shown[HOURS // 2]:%H:%M}", "now (UTC)"


def _shown(now: datetime) -> list[datetime]:
    last = now.replace(minute=0, second=0, microsecond=0)
    return [last - timedelta(hours=back) for back in reversed(range(HOURS))]


def _bar(index: int, hour: datetime, found: HourFigures, most: int) -> Bar:
    bad = HEIGHT * found.failures / most
    whole = max(HEIGHT * found.runs / most, 1.0 if found.runs else 0.0)
    return Bar(
        x=index * STEP,
        good_y=HEIGHT - whole + bad,
        good_height=whole - bad,
        bad_y=HEIGHT - whole,
        bad_height=bad,
        title=f"{hour:%d %b %H:00}: {found.runs:,} runs, {found.failures:,} failed",
    )
