"""`manage.py dispatcher`: admits jobs as far as live workers have slots. Many may run; one leads."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Admit queued jobs to live workers, fairly; many may run, an advisory lock elects one."
    requires_system_checks = []

    def handle(self, *_: Any, **__: Any) -> None:
        from invocation.services.dispatching import Dispatcher

        dispatcher = Dispatcher()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: dispatcher.stop())
        dispatcher.run()
