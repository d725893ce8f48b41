"""`manage.py up`: everything that Gearbox needs, in one terminal."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import detached, up
from config.embedded.errors import EmbeddedError
from config.env import env


class Command(BaseCommand):
    help = "Start the servers (embedded unless DATABASE_URL and REDIS_URL are set), migrate, and run every program until Ctrl-C."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--only", default="", metavar="NAMES", help="programs to run, with commas between; all by default")
        parser.add_argument("--detach", action="store_true", help="run in the background and return when web is ready")

    def handle(self, **options: Any) -> None:
        only = [name.strip() for name in options["only"].split(",") if name.strip()]
        try:
            if options["detach"]:
                self.stdout.write(f"up; its log is {detached.start(env, only=only)}")
            else:
                up.run(env, only=only, out=sys.stdout)
        except (up.UpRefused, EmbeddedError) as error:
            raise CommandError(str(error)) from error
