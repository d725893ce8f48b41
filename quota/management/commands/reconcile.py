"""`manage.py reconcile FILE`: imports a provider's report and holds the ledger against it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

if TYPE_CHECKING:
    from quota.domain.reconciling import Difference

USUAL_DAYS = 30
HEADS = ("day", "model", "calls", "reported", "tokens", "reported", "difference", "estimated", "USD", "reported", "")
NONE = "-"
STYLES = {"agrees": "green", "explained": "cyan"}


class Command(BaseCommand):
    help = (
        "Import a provider's usage (CSV or JSON lines: day, provider, model, requests, input_tokens, output_tokens, cached_tokens, usd) "
        "and compare it with the ledger. Exits with 1 where they differ beyond tolerance."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="left out: compare with what was imported before")
        parser.add_argument("--provider", default="", help="whose report it is, where its lines do not say; or whom to compare")
        parser.add_argument("--tolerance", type=Decimal, default=Decimal(1), help="percent, of what is reported")
        parser.add_argument("--slack", type=int, default=100, help="tokens of a day and model that never matter")
        parser.add_argument("--since", type=date.fromisoformat, help="the first day; the report's own if left out")
        parser.add_argument("--until", type=date.fromisoformat, help="the last day, which is inside")

    def handle(self, *_: Any, **given: Any) -> None:
        from django.utils import timezone

        from quota.domain.reconciling import Tolerance
        from quota.selectors.reconciling import differences

        now = timezone.now()
        first, last = self._days(given, now=now)
        tolerance = Tolerance(share=given["tolerance"] / 100, tokens=given["slack"])
        found = differences(first=first, last=last, provider=given["provider"], tolerance=tolerance, now=now)
        self._show(found, tolerance=given["tolerance"])
        if any(each.is_flagged for each in found):
            sys.exit(1)

    def _days(self, given: dict[str, Any], *, now: Any) -> tuple[date, date]:
        from quota.selectors.reconciling import last_day

        own = self._imported(given, now=now) if given["file"] else None
        last = given["until"] or (own[1] if own else last_day())
        if last is None:
            raise CommandError("No provider's report was imported yet: name a file.")
        first = given["since"] or (own[0] if own else last - timedelta(days=USUAL_DAYS - 1))
        return first, last

    def _imported(self, given: dict[str, Any], *, now: Any) -> tuple[date, date] | None:
        from quota.domain.errors import ReportInvalid
        from quota.selectors.reconciling import days_of
        from quota.services import reconciling

        path: Path = given["file"]
        try:
            kept, is_new = reconciling.take(path.read_bytes(), name=path.name, by="a command", now=now, provider=given["provider"])
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        except ReportInvalid as refused:
            raise CommandError(f"{path.name}: {refused.sentence} Nothing was imported.") from refused
        state = "imported" if is_new else f"imported already, {kept.imported_at:%Y-%m-%d %H:%M} UTC"
        self.stdout.write(f"{path.name}: {kept.lines} days and models, {state}.")
        return days_of(kept)

    def _show(self, found: Sequence[Difference], *, tolerance: Decimal) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"Ledger against providers, tolerance {tolerance} %", title_justify="left", box=box.SIMPLE_HEAD)
        for index, head in enumerate(HEADS):
            table.add_column(head, justify="left" if index < 2 or not head else "right", no_wrap=True)
        for each in found:
            table.add_row(*_cells(each), style=STYLES.get(str(each.verdict), "bold red"))
        Console(file=cast("IO[str]", self.stdout._out), width=None if sys.stdout.isatty() else 160).print(table)  # noqa: SLF001  (Django's wrapper is no file)
        flagged = sum(each.is_flagged for each in found)
        self.stdout.write(f"{flagged} of {len(found)} beyond tolerance." if flagged else f"All {len(found)} within tolerance.")


def _cells(found: Difference) -> list[str]:
    ours, theirs = found.ours, found.theirs
    return [
        found.key.day.isoformat(),
        f"{found.key.provider}/{found.key.model}",
        f"{ours.calls:,}" if ours else NONE,
        f"{theirs.requests:,}" if theirs else NONE,
        f"{ours.tokens:,}" if ours else NONE,
        f"{theirs.input_tokens + theirs.output_tokens:,}" if theirs else NONE,
        f"{found.tokens:+,}" if found.tokens else "0",
        f"{ours.estimated_tokens:,}" if ours else NONE,
        f"{ours.cost_usd:.4f}" if ours else NONE,
        f"{theirs.cost_usd:.4f}" if theirs and theirs.cost_usd is not None else NONE,
        str(found.verdict),
    ]
