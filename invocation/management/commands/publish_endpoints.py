"""`manage.py publish_endpoints`: pins every declared endpoint version in the lock file."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Pin every declared endpoint version in config/endpoints.lock.json; refuses if a published one changed."
    requires_system_checks = []

    def handle(self, *_: Any, **__: Any) -> None:
        from invocation.domain.errors import ContractBroken
        from invocation.services import contracts

        try:
            new = contracts.publish()
        except ContractBroken as broken:
            raise CommandError(broken.detail) from broken
        self.stdout.write(f"published: {', '.join(new) or 'nothing new'}")
