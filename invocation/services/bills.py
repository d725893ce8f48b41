"""Who pays for a run's calls, and what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from agents.domain.values import Usage
from invocation.domain.tiers import Downshift
from quota.domain.budgets import NONE, Spending
from quota.domain.classes import PriorityClass
from quota.domain.ledger import LedgerLine, ParentKind


class Payer(NamedTuple):
    """Who pays for a run's calls, and under what name each is booked."""

    tenant_id: UUID
    endpoint: str
    mode: str
    priority_class: PriorityClass
    run_id: UUID
    parent_kind: ParentKind
    parent_id: str


@dataclass(slots=True)
class Bill:
    """What a run has spent; lines wait here until a transaction takes them to the ledger."""

    _open: list[LedgerLine] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    cost_usd: Decimal = Decimal(0)
    models: list[str] = field(default_factory=list)
    downshifts: list[Downshift] = field(default_factory=list)
    short: Spending = NONE
    """The most of the last call that the tenant's day refused."""
    model_first_ms: int | None = None
    """How long the first model that streamed was waited for: the model's share of a first delta."""

    def add(self, line: LedgerLine) -> None:
        self._open.append(line)
        self.usage += Usage(line.input_tokens, line.output_tokens, line.cached_tokens)
        self.cost_usd += line.cost_usd
        if line.model not in self.models:
            self.models.append(line.model)

    def waited_for_model(self, seconds: float) -> None:
        """Note the wait for a call's first token; the first call counts."""
        if self.model_first_ms is None:
            self.model_first_ms = round(seconds * 1000)

    @property
    def open_lines(self) -> Sequence[LedgerLine]:
        """The lines that no transaction has taken yet."""
        return tuple(self._open)

    def take(self) -> list[LedgerLine]:
        """Hand over the lines that no transaction has taken yet."""
        taken, self._open = self._open, []
        return taken

    def put_back(self, lines: Sequence[LedgerLine]) -> None:
        """Keep lines that no transaction took after all, so that the next one does."""
        self._open = [*lines, *self._open]
