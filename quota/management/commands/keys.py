"""`manage.py keys`: create, list and revoke API keys."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from quota import selectors
from quota.domain.callers import Scope
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaError
from quota.models import ApiKey
from quota.services import keys


class Command(BaseCommand):
    help = "Create, list and revoke API keys."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="create | list | revoke")
        self._add_create(acts.add_parser("create", help="create a key, and its tenant if new; the key is shown once"))
        acts.add_parser("list", help="list all keys, without their secrets")
        revoke = acts.add_parser("revoke", help="revoke a key; it is refused everywhere within 5 s")
        revoke.add_argument("prefix", help="the eight characters after gbx_")

    def handle(self, *_: Any, act: str, **options: Any) -> None:
        try:
            {"create": self._create, "list": self._list, "revoke": self._revoke}[act](**options)
        except QuotaError as refusal:
            raise CommandError(refusal.sentence) from refusal

    def _add_create(self, parser: Any) -> None:
        parser.add_argument("--tenant", required=True)
        parser.add_argument("--plan", default="free", help="for a new tenant: free, pro, house or one of your own")
        parser.add_argument("--name", default="", help="what the key is for")
        parser.add_argument("--scope", action="append", choices=list(Scope), help="may be repeated; all without it")
        parser.add_argument("--highest-class", choices=list(PriorityClass), default=PriorityClass.P0)
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def _create(self, **options: Any) -> None:
        tenant, key = keys.create(
            tenant_name=options["tenant"],
            plan=options["plan"],
            scopes=[Scope(word) for word in options["scope"] or Scope],
            highest_class=PriorityClass(options["highest_class"]),
            name=options["name"],
            now=timezone.now(),
        )
        if options["json"]:
            self.stdout.write(json.dumps({"tenant": tenant.name, "tenant_id": str(tenant.pk), "plan": tenant.plan.name, "key": key}))
        else:
            self._show(tenant.name, tenant.plan.name, key)

    def _show(self, tenant: str, plan: str, key: str) -> None:
        self.stdout.write(f"Tenant {tenant}, plan {plan}. The key is shown this once:\n\n  {key}\n\nTry it:\n")
        self.stdout.write(f"  curl -H 'Authorization: Bearer {key}' http://127.0.0.1:8000/v1/endpoints")

    def _list(self, **_: Any) -> None:
        for key in selectors.all_keys():
            self.stdout.write(f"gbx_{key.prefix}  {key.tenant.name:<24} {key.tenant.plan.name:<8} {key.highest_class}  {_state(key)}")

    def _revoke(self, **options: Any) -> None:
        keys.revoke(options["prefix"].removeprefix("gbx_").split("_")[0], now=timezone.now())
        self.stdout.write("Revoked.")


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
    return f"last used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
