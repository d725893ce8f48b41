"""`manage.py forget`: erases what was said by or about a subject, and returns when that is done."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

LOOK_S = 0.5


class Command(BaseCommand):
    help = "Cancel a subject's open jobs and erase its inputs, outputs, journals, answers and turns; safe to break off and repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, metavar="NAME", help="whose subject it is")
        parser.add_argument("--subject", required=True)

    def handle(self, *_: Any, tenant: str, subject: str, **__: Any) -> None:
        from datetime import UTC, datetime

        from invocation.selectors.erasures import counts
        from invocation.services import erasures
        from quota.selectors import tenant_id_of

        tenant_id = tenant_id_of(tenant)
        if tenant_id is None or not subject:
            raise CommandError(f"There is no tenant {tenant!r}." if tenant_id is None else "Name a subject.")
        erasure = erasures.ask(tenant_id, subject, by="manage.py forget", now=datetime.now(UTC))
        self.stdout.write(f"erasure {erasure.pk}")
        while not counts(erasure.pk)[0]:
            if not erasures.carry_on(erasure, now=datetime.now(UTC)):
                time.sleep(LOOK_S)
        stopped, jobs, turns = counts(erasure.pk)[1:]
        self.stdout.write(f"stopped {stopped} jobs; erased {jobs} jobs and {turns} turns")
