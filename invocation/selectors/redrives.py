"""What is read of redrives: how far each is, and who was refused why."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Max, QuerySet

from invocation.domain.errors import NotFound
from invocation.domain.redrives import REDRIVE_OPEN, RedriveState
from invocation.models import Redrive, RedriveMember


@dataclass(frozen=True, slots=True)
class Refusal:
    """Members that were refused for one reason, and the sentence that one of them was told."""

    code: str
    count: int
    sentence: str


def any_redrive(redrive_id: UUID) -> Redrive:
    """Return the redrive, whosever it is. Raises NotFound."""
    return _found(Redrive.objects.filter(pk=redrive_id), redrive_id)


def owned_redrive(tenant_id: UUID, redrive_id: UUID) -> Redrive:
    """Return the tenant's redrive. Raises NotFound, also for another tenant's and an operator's."""
    return _found(Redrive.objects.filter(pk=redrive_id, tenant_id=tenant_id), redrive_id)


def redrives_of(tenant_id: UUID) -> QuerySet[Redrive]:
    return Redrive.objects.filter(tenant_id=tenant_id)


def refusals(redrive: Redrive) -> list[Refusal]:
    """Return why members were refused, the most frequent reason first."""
    if not redrive.refused:
        return []
    rows = _refused(redrive).values_list("code").annotate(count=Count("pk"), sentence=Max("sentence")).order_by("-count", "code")
    return [Refusal(*row) for row in rows]


def refused_members(redrive: Redrive, *, most: int) -> list[RedriveMember]:
    return list(_refused(redrive).order_by("pk")[:most])


def started_members(redrive: Redrive, *, most: int) -> list[RedriveMember]:
    """Return the members that were started again last."""
    return list(redrive.members.filter(successor_id__isnull=False).order_by("-pk")[:most])


def eta_s(redrive: Redrive) -> float | None:
    """Return how many seconds the rest takes at the redrive's own rate; None before the number is known and after the end."""
    if redrive.state != RedriveState.RUNNING:
        return None
    return (redrive.total - redrive.done - redrive.refused) / redrive.rate


def is_open(redrive: Redrive) -> bool:
    return redrive.state in REDRIVE_OPEN


def _refused(redrive: Redrive) -> QuerySet[RedriveMember]:
    return redrive.members.exclude(code="")


def _found(rows: QuerySet[Redrive], redrive_id: UUID) -> Redrive:
    found = rows.first()
    if found is None:
        raise NotFound(f"There is no redrive {redrive_id}.", field="id", found=str(redrive_id))
    return found
