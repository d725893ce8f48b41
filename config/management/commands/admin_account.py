"""`manage.py admin_account`: makes the first administrator, with the password of the environment or of the home."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from config.env import env


class Command(BaseCommand):
    help = "Make the administrator ADMIN_USER if there is none; its password is ADMIN_PASSWORD, or one kept under the home."
    requires_system_checks = []

    def handle(self, *_: Any, **__: Any) -> None:
        from django.contrib.auth import get_user_model

        user, is_new = get_user_model().objects.get_or_create(username=env.admin_user, defaults={"is_staff": True, "is_superuser": True})
        if is_new:
            user.set_password(env.admin_password)
            user.save(update_fields=["password"])
        self.stdout.write(f"administrator {env.admin_user}: {'made' if is_new else 'kept'}")
