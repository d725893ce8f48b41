"""Holding and releasing admission; each act names who did it and stays on record."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from invocation.domain.errors import StaleMove
from invocation.models import Hold
from invocation.models.admission import HoldScope


def hold(scope: HoldScope, value: str, *, reason: str, by: Any, now: datetime) -> Hold:
    """Let nothing new in for an endpoint, agent, tenant or class, from the dispatcher's next round on. Raises StaleMove if held already."""
    try:
        with transaction.atomic():
            return Hold.objects.create(scope=scope, value=value, reason=reason, held_by=by, held_at=now)
    except IntegrityError:
        raise StaleMove(f"{scope} {value} is held already.") from None


def release(hold_id: int, *, by: Any, now: datetime) -> None:
    """End a hold. Raises StaleMove if it was ended before."""
    if not Hold.objects.filter(pk=hold_id, released_at__isnull=True).update(released_by=by, released_at=now):
        raise StaleMove("This hold is released already.")
