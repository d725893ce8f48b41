"""What this installation's webhooks can reach, from its settings."""

from __future__ import annotations

from django.conf import settings

from invocation.domain.destinations import ANYWHERE, PUBLIC, Reach


def reach() -> Reach:
    return ANYWHERE if settings.WEBHOOK_ALLOW_PRIVATE else PUBLIC
