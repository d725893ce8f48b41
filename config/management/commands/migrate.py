"""Django's `migrate`, over every database unless one is named."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import migrate
from django.db import connections


class Command(migrate.Command):
    help = "Bring the tables up to date: in every database, or in the one that --database names."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database=None)

    def get_check_kwargs(self, options: Any) -> Any:
        named = options["database"]
        return {**super().get_check_kwargs(options), "databases": [named] if named else list(connections)}

    def handle(self, *args: Any, **options: Any) -> None:
        named = options.pop("database")
        for alias in [named] if named else connections:
            super().handle(*args, database=alias, **options)
