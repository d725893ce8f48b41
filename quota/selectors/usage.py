"""What was used: the sums by day up to the mark, and what the ledger holds behind it, in one statement and so at one moment.

Each ledger is asked on its own, wherever it lies, and the groups are added up: a line stands in one of them and never moves.

Its cost grows with the days asked for and the lines of the last seconds, not with the ledger. Only
a period that begins or ends inside a day reads that day's lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from quota.domain.budgets import Spending
from quota.domain.classes import PriorityClass
from quota.domain.usage import FIGURES, Figures, Grouping, Selection, Used
from quota.gateways.ledgers import LEDGERS, Ledger

DAY = timedelta(days=1)
AHEAD = timedelta(days=7)
COLUMNS: Mapping[Grouping, str] = MappingProxyType(
    {
        Grouping.DAY: "day",
        Grouping.TENANT: "tenant_id",
        Grouping.ENDPOINT: "endpoint",
        Grouping.MODE: "mode",
        Grouping.CLASS: "priority_class",
        Grouping.PROVIDER: "provider",
        Grouping.MODEL: "model",
    }
)
NAMES = ", ".join(COLUMNS.values())

LINE = f"""
    SELECT (at AT TIME ZONE 'UTC')::date AS day, {NAMES.removeprefix("day, ")}, 1 AS calls, input_tokens::bigint, output_tokens::bigint,
        cached_tokens::bigint, cost_usd, estimated::int AS estimated_calls,
        CASE WHEN estimated THEN input_tokens + output_tokens ELSE 0 END AS estimated_tokens,
        CASE WHEN estimated THEN cost_usd ELSE 0 END AS estimated_usd
"""

# The mark that was read before tells the planner how little lies behind it; the mark of this very moment makes it exact.
USED = f"""
WITH mark AS (SELECT coalesce(max(ledger_id), 0) AS id FROM MARKS),
tail AS MATERIALIZED (SELECT * FROM LINES WHERE id > %(known)s AND id > (SELECT id FROM mark)),
used AS (
    SELECT {NAMES}, {", ".join(FIGURES)} FROM DAYS WHERE day >= %(first)s AND day < %(end)s {{only}}
    UNION ALL {LINE} FROM tail WHERE at >= %(since)s AND at < %(until)s {{only}}
    {{edges}}
)
SELECT {{keys}} {", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in FIGURES)} FROM used {{after}} {{grouped}}
"""  # noqa: S608
EDGE = f"""
    UNION ALL {LINE} FROM LINES
    WHERE at >= %({{name}}_since)s AND at < %({{name}}_until)s AND id <= (SELECT id FROM mark) {{only}}
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """A period as whole days, from `first` to before `end`, and what of it lies inside a day."""

    first: date
    end: date
    edges: Sequence[tuple[datetime, datetime]]


def used(selection: Selection, by: Sequence[Grouping], *, now: datetime, after: Sequence[str] = (), most: int | None = None) -> list[Used]:
    """Sum a selection by groups, in their order; those behind the group `after`, at most `most`."""
    found: dict[tuple[str, ...], Figures] = {}
    for ledger in LEDGERS:
        for each in _used(ledger, selection, by, now=now, after=after, most=most):
            found[each.group] = found.get(each.group, Figures()) + each.figures
    return [Used(group, found[group]) for group in sorted(found)][:most]


def total(selection: Selection, *, now: datetime) -> Figures:
    """Sum a whole selection."""
    return sum((each.figures for each in used(selection, (), now=now)), Figures())


def used_on(tenant_id: UUID, day: date) -> Spending:
    """Return what a tenant's calls of a UTC day have used."""
    end = _midnight(day + DAY)
    found = total(Selection(since=_midnight(day), until=end, tenant_id=tenant_id), now=end)
    return Spending(found.cost_usd, found.tokens, found.calls)


def used_by_tenants(day: date) -> Mapping[UUID, Spending]:
    """Return what each tenant's calls of a UTC day have used."""
    end = _midnight(day + DAY)
    found = used(Selection(since=_midnight(day), until=end), (Grouping.TENANT,), now=end)
    return {UUID(each.group[0]): Spending(each.figures.cost_usd, each.figures.tokens, each.figures.calls) for each in found}


def used_by_class(provider: str, model: str, *, since: datetime) -> Mapping[PriorityClass, tuple[int, int]]:
    """Return the tokens and requests of a model's calls since a moment of the last days.

    From a UTC midnight it reads sums and what lies behind their mark; from another moment, as the midnight of
    another zone, also the lines between it and the next UTC midnight.
    """
    found = used(model_since(provider, model, since=since), (Grouping.CLASS,), now=since)
    return {PriorityClass(each.group[0]): (each.figures.tokens, each.figures.calls) for each in found}


def model_since(provider: str, model: str, *, since: datetime) -> Selection:
    """Select a model's calls since a moment: up to a midnight that is to come, so that no day's end is read line by line."""
    return Selection(since=since, until=since + AHEAD, only={Grouping.PROVIDER: provider, Grouping.MODEL: model})


def pages(selection: Selection, by: Sequence[Grouping], *, now: datetime, most: int) -> Iterator[list[Used]]:
    """Yield a selection's groups in their order, at most `most` at a time, each page read when it is asked for."""
    after: Sequence[str] = ()
    while found := used(selection, by, now=now, after=after, most=most):
        yield found
        after = found[-1].group
        if len(found) < most:
            return


def statement(
    ledger: Ledger,
    selection: Selection,
    by: Sequence[Grouping],
    *,
    now: datetime,
    known: int,
    after: Sequence[str] = (),
    most: int | None = None,
) -> tuple[str, dict[str, Any]]:
    """Return the statement that reads a selection from a ledger, and its parameters."""
    span = _span(selection, now=now)
    given: dict[str, Any] = {"known": known, "first": span.first, "end": span.end, "since": selection.since, "until": _end(selection, now)}
    only = _only(selection, given)
    keys = [_key(each) for each in by]
    text = USED.format(
        only=only,
        edges="".join(_edge(f"edge_{index}", edge, only, given) for index, edge in enumerate(span.edges)),
        keys="".join(f"{key}, " for key in keys),
        after=_after(by, after, given),
        grouped=f"GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)} {_limit(most, given)}" if keys else "",
    )
    return ledger.sql(text), given


def _used(
    ledger: Ledger, selection: Selection, by: Sequence[Grouping], *, now: datetime, after: Sequence[str], most: int | None
) -> list[Used]:
    known = QuerySet(ledger.marks).values_list("ledger_id", flat=True).first() or 0
    text, given = statement(ledger, selection, by, now=now, known=known, after=after, most=most)
    with ledger.connection.cursor() as cursor:
        cursor.execute(text, given)
        rows = cursor.fetchall()
    width = len(by)
    return [Used(tuple(map(str, row[:width])), _figures(row[width:])) for row in rows]


def _figures(sums: Sequence[Any]) -> Figures:
    told: dict[str, Any] = {name: value if name.endswith("_usd") else int(value) for name, value in zip(FIGURES, sums, strict=True)}
    return Figures(**told)


def _span(selection: Selection, *, now: datetime) -> _Span:
    since, until = selection.since.astimezone(UTC), _end(selection, now)
    first, end = _up(since), until.date()
    if first > end:
        return _Span(first=first, end=first, edges=((since, until),))
    edges = [(since, _midnight(first)), (_midnight(end), until)]
    return _Span(first=first, end=end, edges=[(start, stop) for start, stop in edges if start < stop])


def _end(selection: Selection, now: datetime) -> datetime:
    """Nothing was used in the future: a period that is not over ends with its day."""
    until = selection.until.astimezone(UTC)
    return until if until < now else _midnight(_up(until))


def _up(moment: datetime) -> date:
    """Return the first day that begins at the moment or later."""
    return moment.date() if moment == _midnight(moment.date()) else moment.date() + DAY


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _only(selection: Selection, given: dict[str, Any]) -> str:
    wanted: dict[str, Any] = {"tenant_id": selection.tenant_id} if selection.tenant_id else {}
    wanted |= {COLUMNS[each]: value for each, value in selection.only.items() if value}
    given.update({f"only_{column}": value for column, value in wanted.items()})
    return "".join(f" AND {column} = %(only_{column})s" for column in wanted)


def _edge(name: str, edge: tuple[datetime, datetime], only: str, given: dict[str, Any]) -> str:
    given[f"{name}_since"], given[f"{name}_until"] = edge
    return EDGE.format(name=name, only=only)


def _key(grouping: Grouping) -> str:
    """Text is ordered by its code points, as Python does it, whatever the database's collation."""
    return f'{COLUMNS[grouping]}::text COLLATE "C"'


def _after(by: Sequence[Grouping], after: Sequence[str], given: dict[str, Any]) -> str:
    if not after:
        return ""
    given.update({f"after_{index}": value for index, value in enumerate(after)})
    return f"WHERE ({', '.join(map(_key, by))}) > ({', '.join(f'%(after_{index})s' for index in range(len(after)))})"


def _limit(most: int | None, given: dict[str, Any]) -> str:
    given["most"] = most
    return "LIMIT %(most)s"
