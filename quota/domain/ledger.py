"""One line of the ledger: what one model call used and cost, and for whom."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from quota.domain.budgets import NONE, Spending
from quota.domain.classes import PriorityClass
from quota.domain.prices import Price


class ParentKind(StrEnum):
    """What a run was made for."""

    JOB = "job"
    TURN = "turn"
    BATCH = "batch"
    FIRING = "firing"


class LedgerLine(NamedTuple):
    """`estimated` usage was counted by us, because the provider reported none; `price` is what was applied.

    `call_id` names the call, so that a line that is booked twice lands once.
    """

    call_id: UUID
    tenant_id: UUID
    endpoint: str
    mode: str
    priority_class: PriorityClass
    run_id: UUID
    parent_kind: ParentKind
    parent_id: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    price: Price
    cost_usd: Decimal
    estimated: bool
    at: datetime
    held: Spending = NONE
    """What was set aside for the call where others count on it; the charge gives it back. Not of the ledger."""

    @property
    def spending(self) -> Spending:
        return Spending(self.cost_usd, self.input_tokens + self.output_tokens, 1)
