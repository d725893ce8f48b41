"""`manage.py modes`: what each mode did, and how its scores stand to the baseline."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Show runs, first delta, duration, tokens, cost and score by mode."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", metavar="ISO", help="a moment such as 2026-11-20T09:00:00+00:00; a day ago by default")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")

    def handle(self, *_: Any, **given: Any) -> None:
        report = _report(_moment(given["since"]))
        if given["json"]:
            self.stdout.write(json.dumps(report, default=str))
            return
        from rich.console import Console

        from config.demo import table

        table.show(report, Console())


def _report(since: datetime) -> dict[str, dict[str, Any]]:
    from dataclasses import asdict

    from evals import selectors as scores
    from invocation.selectors import report

    compared = {row.mode: row for row in scores.by_mode(since=since)}
    return {str(mode): asdict(figures) | _scored(compared.get(str(mode))) for mode, figures in report.by_mode(since=since).items()}


def _scored(compared: Any) -> dict[str, Any]:
    if compared is None:
        return {"score": None, "scored": 0, "baseline": None, "standing": "unset"}
    return {"score": compared.mean, "scored": compared.runs, "baseline": compared.expected, "standing": str(compared.standing)}


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC) - timedelta(days=1)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--since {text!r} is no ISO 8601 moment.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
