"""Bars of a small chart, as numbers for an inline SVG: one bar an hour, failures on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from invocation.selectors.dashboard import HourFigures

HOURS = 24
HEIGHT = 40
STEP = 10
BAR = 8
EMPTY = HourFigures(0, 0)


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
