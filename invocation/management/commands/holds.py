"""`manage.py holds`: what is held, by whom and why."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "List the holds of admission that are open."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *_: Any, **given: Any) -> None:
        from invocation.selectors import standing

        found = standing.open_holds()
        for hold in found:
            by = str(hold.held_by or "a command")
            told = {"scope": hold.scope, "value": hold.value, "reason": hold.reason, "by": by, "since": hold.held_at.isoformat()}
            self.stdout.write(json.dumps(told) if given["json"] else "{scope} {value}, held by {by} since {since}: {reason}".format(**told))
        if not found and not given["json"]:
            self.stdout.write("Nothing is held.")
