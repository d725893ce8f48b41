"""Shapes of charts as numbers for inline SVG and bars of HTML: no library, no request, readable in both themes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from quota.admin.cells import money

HEIGHT = 160
STEP = 12
BAR = 9
TICKS = 4
NICE = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a day's bar: which series, where it stands and how high it is."""

    series: str
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Column:
    """One day: where it stands, its pieces from the ground up, and what it says on hover."""

    x: int
    pieces: Sequence[Piece]
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the chart, and the sum that it stands for."""

    y: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacked:
    """Bars by day, stacked by series, with lines to read them by."""

    columns: Sequence[Column]
    ticks: Sequence[Tick]
    legend: Sequence[tuple[str, str]]
    days: tuple[str, str, str]
    width: int
    height: int = HEIGHT


def by_day(spent: Mapping[tuple[date, str], Decimal], series: Sequence[str], *, first: date, last: date) -> Stacked:
    """Stack what each series spent on each day, the first day left; a day without a call has an empty place."""
    days = [first + timedelta(days=index) for index in range((last - first).days + 1)]
    top = _top(max((sum((spent.get((day, each), Decimal(0)) for each in series), Decimal(0)) for day in days), default=Decimal(0)))
    totals = {each: sum((spent.get((day, each), Decimal(0)) for day in days), Decimal(0)) for each in series}
    return Stacked(
        columns=[_column(index, day, spent, series, top) for index, day in enumerate(days)],
        ticks=[Tick(f"{HEIGHT * (1 - part / TICKS):.1f}", money(top * part / TICKS)) for part in range(TICKS + 1)],
        legend=[(each, money(totals[each])) for each in series],
        days=(f"{first:%d %b}", f"{days[len(days) // 2]:%d %b}", f"{last:%d %b %Y}"),
        width=STEP * len(days),
    )


@dataclass(frozen=True, slots=True)
class Rank:
    """One of those that spent most: its part of the most, in percent, and what it says."""

    name: str
    width: str
    cost: str
    share: str


def ranked(spent: Iterable[tuple[str, Decimal]], *, most: int) -> list[Rank]:
    """Return those that spent most, the first as wide as the place, and the others together at the end."""
    order = sorted(spent, key=lambda pair: (-pair[1], pair[0]))
    total = sum((cost for _, cost in order), Decimal(0))
    shown, rest = order[:most], order[most:]
    shown += [(f"{len(rest)} others", sum((cost for _, cost in rest), Decimal(0)))] if rest else []
    widest = max((cost for _, cost in shown), default=Decimal(0)) or Decimal(1)
    return [Rank(name, f"{100 * cost / widest:.1f}", money(cost), f"{cost / (total or 1):.0%}") for name, cost in shown]


def _column(index: int, day: date, spent: Mapping[tuple[date, str], Decimal], series: Sequence[str], top: Decimal) -> Column:
    pieces, ground = [], Decimal(0)
    told = [f"{day:%A %d %b %Y}"]
    for each in series:
        cost = spent.get((day, each), Decimal(0))
        if cost:
            pieces.append(Piece(each, f"{HEIGHT * (1 - (ground + cost) / top):.2f}", f"{HEIGHT * cost / top:.2f}"))
            told.append(f"{each}: {money(cost)}")
            ground += cost
    return Column(index * STEP, pieces, "\n".join([*told, f"in all: {money(ground)}"]))


def _top(most: Decimal) -> Decimal:
    """Return the next round number, so that the lines stand for sums that can be read."""
    if not most:
        return Decimal(1)
    unit = Decimal(10) ** most.adjusted()
    return next(nice * unit for nice in NICE if nice * unit >= most)
