"""`manage.py usage`: what was used, as a table in the terminal."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

GROUPINGS = ("day", "tenant", "endpoint", "mode", "priority_class", "provider", "model")
USUAL_DAYS = 7
HEADS = ("calls", "input", "output", "cached", "estimated", "USD")


class Command(BaseCommand):
    help = "Show what was used, by day, tenant and mode if nothing else is said."

    def add_arguments(self, parser: CommandParser) -> None:
        words = ", ".join(GROUPINGS)
        parser.add_argument("--by", nargs="+", choices=GROUPINGS, default=["day", "tenant", "mode"], metavar="GROUPING", help=words)
        parser.add_argument("--days", type=int, default=USUAL_DAYS, help="how many days, the last inside")
        parser.add_argument("--until", type=date.fromisoformat, help="the last day; today if left out")
        parser.add_argument("--tenant", help="of this tenant only")

    def handle(self, *_: Any, **given: Any) -> None:
        from django.utils import timezone
        from rich import box
        from rich.console import Console
        from rich.table import Table

        from quota import selectors
        from quota.domain.usage import Figures, Grouping
        from quota.selectors import usage

        now, by = timezone.now(), [Grouping(word) for word in dict.fromkeys(given["by"])]
        names = selectors.tenant_names()
        table = Table(box=box.SIMPLE_HEAD, show_footer=True)
        found = usage.used(_selection(given, now=now), by, now=now)
        total = _cells(sum((each.figures for each in found), Figures()))
        for index, grouping in enumerate(by):
            table.add_column(str(grouping), footer="in all" if index == 0 else "")
        for head, foot in zip(HEADS, total, strict=True):
            table.add_column(head, foot, justify="right", no_wrap=True)
        for each in found:
            table.add_row(*(names.get(word, word) for word in each.group), *_cells(each.figures))
        Console(file=cast("IO[str]", self.stdout._out), width=None if sys.stdout.isatty() else 160).print(table)  # noqa: SLF001  (Django's wrapper is no file)


def _selection(given: dict[str, Any], *, now: datetime) -> Any:
    from quota import selectors
    from quota.domain.usage import Selection

    tenant_id = selectors.tenant_id_of(given["tenant"]) if given["tenant"] else None
    if given["tenant"] and tenant_id is None:
        raise CommandError(f"There is no tenant called {given['tenant']}.")
    if given["days"] < 1:
        raise CommandError("--days is at least 1.")
    end = datetime.combine((given["until"] or now.date()) + timedelta(days=1), time(), tzinfo=UTC)
    return Selection(since=end - timedelta(days=given["days"]), until=end, tenant_id=tenant_id)


def _cells(figures: Any) -> list[str]:
    shares = (f"{figures.cached_share:.1%}", f"{figures.estimated_share:.1%}")
    return [f"{figures.calls:,}", f"{figures.input_tokens:,}", f"{figures.output_tokens:,}", *shares, f"{figures.cost_usd:,.4f}"]
