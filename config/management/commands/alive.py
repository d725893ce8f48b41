"""`manage.py alive NAME`: a role's health check."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Say whether the program of this name, on this machine, does its work. Ends with code 1 if it does not."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        from config import alive

        parser.add_argument("name", choices=list(alive.CHECKS))

    def handle(self, *, name: str, **_: Any) -> None:
        from django.db import Error, connection

        from config import alive

        connection.settings_dict["OPTIONS"].pop("pool", None)  # a pool tries on for ten seconds where nobody listens
        try:
            lives = alive.is_alive(name)
        except (Error, OSError) as gone:
            self.stderr.write(f"{name} cannot be asked about: {gone}")
            sys.exit(1)
        self.stdout.write(f"{name} is {'alive' if lives else 'not alive'}")
        sys.exit(0 if lives else 1)
