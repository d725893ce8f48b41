"""Parking: a run gives its slot back and waits; what it waits for is kept with the job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db import transaction

from agents.domain.waits import ForAnswers, ForCallback, ForChildren, ForMoment, Wait
from invocation.domain.jobs import Fence, Move
from invocation.domain.waits import WaitReason, for_callback, for_children
from invocation.gateways import hints
from invocation.models import Callback
from invocation.services import children, lifecycle, webhooks
from invocation.services.charges import charge
from invocation.services.lifecycle import Moved
from quota.domain.ledger import LedgerLine

INPUT_REQUESTED = "input.requested"


def park(fence: Fence, wait: Wait, lines: Sequence[LedgerLine]) -> None:
    """Give the slot back until the wait is over; what is there by now wakes the job at once. Raises StaleMove."""
    with transaction.atomic():
        woken = _PARKS[type(wait)](fence, wait, datetime.now(UTC))
        charge(fence, lines)
    for job in woken:
        hints.wake(job.priority_class, job.tenant_id)


def _for_answers(fence: Fence, wait: ForAnswers, now: datetime) -> list[Moved]:
    asked = {each.key: {"sentence": each.sentence, "schema": dict(each.schema)} for each in wait.questions}
    given = lifecycle.held(fence, questions=asked, due_at=wait.until)
    parked = lifecycle.take(Move.ASK, [given], now=now, right=lifecycle.HOLDER)
    if not parked:
        raise lifecycle.stale(Move.ASK, given)
    webhooks.tell(parked, now=now)
    lifecycle.note(fence.job_id, INPUT_REQUESTED, {"questions": asked, "until": wait.until}, now=now)
    return []


def _for_callback(fence: Fence, wait: ForCallback, now: datetime) -> list[Moved]:
    """The callback's row is locked first: a call that comes now either is seen here, or sees the job waiting."""
    callback = Callback.objects.select_for_update(of=["self"], no_key=True).get(job_id=fence.job_id, key=wait.key)
    _wait(fence, WaitReason.CALLBACK, now, due_at=wait.until, awaiting=for_callback(wait.key))
    return [] if callback.came_at is None else lifecycle.take(Move.WAKE, [lifecycle.of(fence.job_id)], now=now)


def _for_moment(fence: Fence, wait: ForMoment, now: datetime) -> list[Moved]:
    _wait(fence, WaitReason.TIME, now, due_at=wait.until)
    return []


def _for_children(fence: Fence, wait: ForChildren, now: datetime) -> list[Moved]:
    """The job is locked by its own move: a child that ends now either is seen here, or sees its parent waiting."""
    _wait(fence, WaitReason.CHILDREN, now, due_at=wait.until, awaiting=for_children(wait.ids))
    return children.wake_joined([UUID(fence.job_id)], now=now)


def _wait(fence: Fence, reason: WaitReason, now: datetime, **facts: Any) -> None:
    lifecycle.move_one(Move.WAIT, lifecycle.held(fence, reason=str(reason), **facts), now=now, right=lifecycle.HOLDER)


_PARKS: Mapping[type[Wait], Callable[[Fence, Any, datetime], list[Moved]]] = MappingProxyType(
    {ForAnswers: _for_answers, ForCallback: _for_callback, ForMoment: _for_moment, ForChildren: _for_children}
)
