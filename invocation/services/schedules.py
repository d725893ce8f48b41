"""Schedules: keeping them, and firing each moment exactly once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction

from invocation.domain.budgets import Wish
from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import InputInvalid, InvocationError, StaleMove
from invocation.domain.schedules import FiringState
from invocation.gateways import cron, declared
from invocation.models import Firing, Schedule
from invocation.services.submission import Submission, check_input, submit
from quota.domain.errors import CanNeverFit
from quota.services import plans

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTerms:
    """What a schedule says: this endpoint with this input at these moments of this time zone."""

    tenant_id: UUID
    name: str
    endpoint: Endpoint
    cron: str
    timezone: str
    input: Mapping[str, Any]
    wish: Wish = field(default_factory=Wish)


def create(terms: ScheduleTerms, *, now: datetime) -> Schedule:
    """Keep a schedule. Raises InputInvalid naming the field, cron and timezone included; StaleMove if the name is taken."""
    columns = _columns(terms, now=now)
    try:
        with transaction.atomic():
            return Schedule.objects.create(tenant_id=terms.tenant_id, created_at=now, **columns)
    except IntegrityError:
        raise _name_taken(terms) from None


def _name_taken(terms: ScheduleTerms) -> StaleMove:
    return StaleMove(f"You have a schedule called {terms.name!r} already: change it, or choose another name.")


def change(schedule_id: UUID, terms: ScheduleTerms, *, now: datetime) -> None:
    """Replace what a schedule says; its next moment is counted from `now`. Raises what create raises."""
    columns = _columns(terms, now=now)
    try:
        with transaction.atomic():
            Schedule.objects.filter(pk=schedule_id).update(**columns)
    except IntegrityError:
        raise _name_taken(terms) from None


def pause(schedule_id: UUID, *, now: datetime) -> None:
    """Fire no more until resumed. Called again it changes nothing."""
    Schedule.objects.filter(pk=schedule_id).update(is_paused=True)


def resume(schedule_id: UUID, *, now: datetime) -> None:
    """Fire again from the next moment after `now`; what was missed is not made up."""
    with transaction.atomic():
        schedule = Schedule.objects.select_for_update(no_key=True).get(pk=schedule_id)
        schedule.is_paused = False
        schedule.next_fire_at = _next(schedule.cron, schedule.timezone, now)
        schedule.save(update_fields=["is_paused", "next_fire_at"])


def delete(schedule_id: UUID) -> None:
    """Forget a schedule with its firings; the jobs that it made stay."""
    Schedule.objects.filter(pk=schedule_id).delete()


def fire(schedule_id: UUID, *, now: datetime) -> Firing:
    """Fire now, beside the clock. The next moment stays as it was."""
    with transaction.atomic():
        return _fire(Schedule.objects.select_for_update(no_key=True).get(pk=schedule_id), due_at=now, now=now)


def tick(*, now: datetime, most: int = 100) -> int:
    """Fire every schedule whose moment has come and return how many.

    Two beats may tick at once: a due row is locked by one and skipped by the other, and
    the job is inserted and the next moment set in one transaction. After downtime a
    schedule fires once for all that it missed. One that cannot be fired keeps the reason
    as its fault and comes again at its next moment; it stops no other.
    """
    fired = 0
    with transaction.atomic():
        due = Schedule.objects.select_for_update(skip_locked=True, no_key=True).filter(is_paused=False, next_fire_at__lte=now)
        for schedule in due.order_by("next_fire_at")[:most]:
            fired += _fire_due(schedule, now=now)
    return fired


def _fire_due(schedule: Schedule, *, now: datetime) -> int:
    due_at = schedule.next_fire_at
    _advance(schedule, now=now)
    try:
        with transaction.atomic():
            _fire(schedule, due_at=due_at, now=now)
    except (InvocationError, CanNeverFit) as refused:
        log.warning("schedule_cannot_fire", schedule_id=str(schedule.pk), code=refused.code, detail=str(refused))
        Schedule.objects.filter(pk=schedule.pk).update(fault={"code": refused.code, "detail": str(refused), "at": now.isoformat()})
        return 0
    return 1


def _advance(schedule: Schedule, *, now: datetime) -> None:
    """Set the next moment; a schedule that has none any more is paused."""
    schedule.last_fired_at = now
    try:
        schedule.next_fire_at = _next(schedule.cron, schedule.timezone, now)
    except InputInvalid as timeless:
        log.warning("schedule_has_no_next_moment", schedule_id=str(schedule.pk), detail=timeless.detail)
        schedule.is_paused = True
    schedule.save(update_fields=["next_fire_at", "last_fired_at", "is_paused"])


def _fire(schedule: Schedule, *, due_at: datetime, now: datetime) -> Firing:
    endpoint = declared.book().find(schedule.endpoint)
    wish = Wish(cost_usd=schedule.cost_usd, tokens=schedule.tokens, model_calls=schedule.model_calls)
    accepted = submit(Submission(tenant_id=schedule.tenant_id, endpoint=endpoint, input=schedule.input, wish=wish), now=now)
    return Firing.objects.create(schedule=schedule, due_at=due_at, fired_at=now, job_id=accepted.job_id, state=FiringState.FIRED)


def _columns(terms: ScheduleTerms, *, now: datetime) -> dict[str, Any]:
    check_input(terms.endpoint, terms.input, day=plans.day_limits_now(terms.tenant_id))
    return {
        "name": terms.name,
        "endpoint": terms.endpoint.label,
        "cron": terms.cron,
        "timezone": terms.timezone,
        "input": dict(terms.input),
        **asdict(terms.wish),
        "next_fire_at": _next(terms.cron, terms.timezone, now),
    }


def _next(expression: str, timezone: str, after: datetime) -> datetime:
    try:
        return cron.next_after(expression, timezone=timezone, after=after)
    except cron.BadCron as bad:
        found = timezone if bad.field == "timezone" else expression
        raise InputInvalid(f"/{bad.field}: {bad}", field=f"/{bad.field}", found=found) from None
