"""Charges: what a job's calls cost, booked in the ledger and taken off what it may still spend."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import F

from invocation.domain.jobs import TERMINAL, Fence
from invocation.models import Job
from invocation.services import children
from quota.domain.budgets import NONE, Spending
from quota.domain.ledger import LedgerLine
from quota.services import ledger


def charge(fence: Fence, lines: Sequence[LedgerLine]) -> None:
    """Book the calls, and take them off what the job's later attempts may spend, in place of what was held for them.

    Calls that are booked already change nothing.
    """
    booked = ledger.append(lines)
    if booked:
        spent, held = sum((line.spending for line in booked), NONE), sum((line.held for line in booked), NONE)
        _take_off(fence, spent, held)
        if Job.objects.filter(pk=fence.job_id, parent__isnull=False, state__in=TERMINAL).exists():
            children.pass_up_late(UUID(fence.job_id), held=held, spent=spent)


def _take_off(fence: Fence, spent: Spending, held: Spending) -> None:
    Job.objects.filter(pk=fence.job_id).update(
        spent_usd=F("spent_usd") + spent.usd,
        spent_tokens=F("spent_tokens") + spent.tokens,
        spent_calls=F("spent_calls") + spent.calls,
        held_usd=F("held_usd") - held.usd,
        held_tokens=F("held_tokens") - held.tokens,
        held_calls=F("held_calls") - held.calls,
    )
