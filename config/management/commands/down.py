"""`manage.py down`: stops what `manage.py up` runs, wherever it runs."""

from __future__ import annotations

import signal
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config import up
from config.embedded import servers
from config.embedded.errors import EmbeddedError
from config.env import env
from config.supervisor.ending import AT_ONCE, Force, end
from config.supervisor.leftovers import end_leftovers

MARGIN = timedelta(seconds=10)


class Command(BaseCommand):
    help = "Stop a running `up`, what an earlier one left behind, and the embedded servers. Data is kept."
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(self, **_options: Any) -> None:
        roster = up.running(env.home)
        supervisor = roster.supervisor.find() if roster else None
        if supervisor:
            end([supervisor], by=(Force(signal.SIGTERM, timedelta(seconds=env.drain_s) + MARGIN), *AT_ONCE))
        left = end_leftovers(env.home)
        try:
            servers.stop(env.home)
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        self.stdout.write("stopped" if supervisor or left else "was not up")
