"""`manage.py hold`: let nothing new in for an endpoint, an agent version, a tenant or a class."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from invocation.management import holding


class Command(BaseCommand):
    help = "Hold admission: jobs and rows wait in their order, chats are refused, what runs goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        holding.add_thing(parser)
        parser.add_argument("--reason", required=True, help="why; stays on record")

    def handle(self, *_: Any, reason: str, by: str | None, **given: Any) -> None:
        from datetime import UTC, datetime

        from invocation.domain.errors import StaleMove
        from invocation.services import holds

        scope, value = holding.thing(**{name: given[name] for name in ("endpoint", "agent", "tenant", "class_")})
        try:
            holds.hold(scope, value, reason=reason, by=holding.who(by), now=datetime.now(UTC))
        except StaleMove as held:
            raise CommandError(held.detail) from held
        self.stdout.write(f"{scope} {value} is held: nothing new is let in.")
