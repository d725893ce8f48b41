"""Charges: what a job's calls cost, booked in the ledger and taken off what it may still spend."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from django.db.models import F

from invocation.domain.jobs import TERMINAL, Fence
from invocation.models import Job
from invocation.services import children
from quota.domain.ledger import LedgerLine
from quota.services import ledger


def charge(fence: Fence, lines: Sequence[LedgerLine]) -> None:
    """Book the calls, and take them off what the job's later attempts may spend; calls that are booked already change nothing."""
    booked = ledger.append(lines)
    if booked:
        cost = sum((line.cost_usd for line in booked), Decimal(0))
        Job.objects.filter(pk=fence.job_id).update(spent_usd=F("spent_usd") + cost)
        if Job.objects.filter(pk=fence.job_id, parent__isnull=False, state__in=TERMINAL).exists():
            children.pass_up_late(UUID(fence.job_id), cost)
