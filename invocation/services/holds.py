"""Holding and releasing admission; each act names who did it and stays on record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, InterfaceError, OperationalError, transaction

from invocation.domain.batches import BATCH_OPEN
from invocation.domain.errors import StaleMove
from invocation.gateways import dispatch, hints
from invocation.models import Batch, Hold
from invocation.models.admission import HoldScope
from invocation.services.endings import DISPATCHED_CLASSES
from quota.domain.classes import PriorityClass

log = structlog.get_logger()
MOST_NUDGED = 100
"""Batches that a release sends on at once; the sweep finds the others."""


def hold(scope: HoldScope, value: str, *, reason: str, by: Any, now: datetime) -> Hold:
    """Let nothing new in for an endpoint, agent, tenant or class, from the dispatcher's next round on. Raises StaleMove if held already.

    Jobs wait in their order, a batch's rows that have not begun wait, a chat is refused. What runs, runs on.
    """
    try:
        with transaction.atomic():
            held = Hold.objects.create(scope=scope, value=value, reason=reason, held_by=by, held_at=now)
    except IntegrityError:
        raise StaleMove(f"{scope} {value} is held already.") from None
    log.warning("admission_held", scope=str(scope), value=value, reason=reason, by=str(by or "a command"))
    return held


def release(hold_id: int, *, by: Any, now: datetime) -> None:
    """End a hold: what waited is let in at once. Raises StaleMove if it was ended before."""
    if not Hold.objects.filter(pk=hold_id, released_at__isnull=True).update(released_by=by, released_at=now):
        raise StaleMove("This hold is released already.")
    held = Hold.objects.get(pk=hold_id)
    log.warning("admission_released", scope=held.scope, value=held.value, by=str(by or "a command"))
    transaction.on_commit(lambda: _go_on(HoldScope(held.scope), held.value))


def release_value(scope: HoldScope, value: str, *, by: Any, now: datetime) -> None:
    """End the hold of a thing by its name. Raises StaleMove if it is not held."""
    held = Hold.objects.filter(scope=scope, value=value, released_at__isnull=True).first()
    if held is None:
        raise StaleMove(f"{scope} {value} is not held.")
    release(held.pk, by=by, now=now)


_BATCHES: Mapping[HoldScope, str] = MappingProxyType(
    {HoldScope.ENDPOINT: "endpoint", HoldScope.AGENT: "agent", HoldScope.TENANT: "tenant_id"}
)


def _go_on(scope: HoldScope, value: str) -> None:
    """Wake the dispatcher, and ask for the next wave of batches that waited; the sweeps do both if this is lost."""
    for priority_class in DISPATCHED_CLASSES:
        hints.wake(str(priority_class))
    try:
        for batch_id in _batches_of(scope, value):
            dispatch.start_wave(batch_id)
    except (dispatch.BrokerGone, OperationalError, InterfaceError) as gone:
        log.warning("waves_wait_for_the_sweep", error=str(gone))


def _batches_of(scope: HoldScope, value: str) -> list[UUID]:
    column = _BATCHES.get(scope)
    if column is None and value != PriorityClass.P3:
        return []
    named = {column: value} if column else {}
    return list(Batch.objects.filter(state__in=BATCH_OPEN, **named).values_list("pk", flat=True)[:MOST_NUDGED])
