"""What is read of erasures."""

from __future__ import annotations

from uuid import UUID

from invocation.domain.errors import NotFound
from invocation.models import Erasure


def owned_erasure(tenant_id: UUID, erasure_id: UUID) -> Erasure:
    """Return the tenant's erasure. Raises NotFound, also for another tenant's."""
    found = Erasure.objects.filter(pk=erasure_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound(f"There is no erasure {erasure_id}.", field="id", found=str(erasure_id))
    return found


def counts(erasure_id: UUID) -> tuple[bool, int, int, int]:
    """Return whether it is finished, and how many jobs it stopped, jobs and turns it erased."""
    row = Erasure.objects.get(pk=erasure_id)
    return row.finished_at is not None, row.jobs_stopped, row.jobs_erased, row.turns_erased
