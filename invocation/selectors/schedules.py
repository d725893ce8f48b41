"""What is read of schedules and their firings."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from invocation.domain.errors import NotFound
from invocation.models import Firing, Schedule


def schedules_of(tenant_id: UUID) -> QuerySet[Schedule]:
    return Schedule.objects.filter(tenant_id=tenant_id)


def owned_schedule(tenant_id: UUID, schedule_id: UUID) -> Schedule:
    """Return the tenant's schedule. Raises NotFound, also for another tenant's."""
    found = Schedule.objects.filter(pk=schedule_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound(f"There is no schedule {schedule_id}.", field="id", found=str(schedule_id))
    return found


def firings_of(schedule: Schedule) -> QuerySet[Firing]:
    return Firing.objects.filter(schedule=schedule)
