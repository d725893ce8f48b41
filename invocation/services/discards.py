"""Closing dead letters for good: they are not listed as open any more and cannot be redriven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from invocation.domain.errors import InputInvalid
from invocation.domain.redrives import MOST_IDS
from invocation.models import DeadLetter, Discard
from invocation.selectors import dead_letters
from invocation.selectors.dead_letters import OPEN, REDRIVEN, standing_of


@dataclass(frozen=True, slots=True)
class Discarded:
    """What became of the dead letters: closed now, and left alone because a successor took their place."""

    closed: Sequence[UUID]
    redriven: Sequence[UUID]


@transaction.atomic
def discard(job_ids: Sequence[UUID], *, tenant_id: UUID | None, by: str, reason: str, now: datetime) -> Discarded:
    """Close dead letters of a tenant, or of anybody (None). One that is closed already keeps its first reason.

    Raises InputInvalid, and NotFound, naming the first id that is no dead letter; then none is closed.
    """
    if len(job_ids) > MOST_IDS or not job_ids:
        raise InputInvalid(f"Say 1 to {MOST_IDS} ids at once.", field="/ids", found=len(job_ids))
    if not reason.strip():
        raise InputInvalid("Say why.", field="/reason", found=reason)
    rows = _locked(job_ids, tenant_id=tenant_id)
    open_ones = [row.pk for row in rows if standing_of(row) == OPEN]
    Discard.objects.bulk_create(Discard(job_id=job_id, reason=reason, by=by, at=now) for job_id in open_ones)
    return Discarded(open_ones, [row.pk for row in rows if standing_of(row) == REDRIVEN])


def _locked(job_ids: Sequence[UUID], *, tenant_id: UUID | None) -> list[DeadLetter]:
    """Return the rows as they are under their locks, which a redrive takes too; in order, so that no two wait for each other."""
    found = dead_letters.these(job_ids, tenant_id=tenant_id)
    keys = list(found.select_for_update(of=("self",), no_key=True).order_by("pk").values_list("pk", flat=True))
    return list(dead_letters.dead_letters().filter(pk__in=keys).select_related("successor", "discard"))
