"""`manage.py release`: end a hold of admission."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from invocation.management import holding


class Command(BaseCommand):
    help = "Release what is held: what waited is let in at once, in its order."

    def add_arguments(self, parser: CommandParser) -> None:
        holding.add_thing(parser)

    def handle(self, *_: Any, by: str | None, **given: Any) -> None:
        from datetime import UTC, datetime

        from invocation.domain.errors import StaleMove
        from invocation.services import holds

        scope, value = holding.thing(**{name: given[name] for name in ("endpoint", "agent", "tenant", "class_")})
        try:
            holds.release_value(scope, value, by=holding.who(by), now=datetime.now(UTC))
        except StaleMove as free:
            raise CommandError(free.detail) from free
        self.stdout.write(f"{scope} {value} is released.")
