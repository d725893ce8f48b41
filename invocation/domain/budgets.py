"""What binds one invocation: the mode's ceilings, narrower by its endpoint, narrower by its request, never wider."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from typing import TypeVar

from quota.domain.budgets import Spending
from quota.domain.prices import MICRO

N = TypeVar("N", timedelta, Decimal, int)


def narrowed(wish: N | None, bound: N) -> N:
    """Return the wish where there is one, zero included, and never more than the bound."""
    return bound if wish is None else min(wish, bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a request, or a parent, would bind an invocation to; None wishes nothing narrower."""

    cost_usd: Decimal | None = None
    tokens: int | None = None
    model_calls: int | None = None


NOTHING = Wish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What binds one run; copied to its row at submission, so that a promise once given does not change."""

    first_delta: timedelta
    whole: timedelta
    cost_usd: Decimal
    tokens: int
    model_calls: int

    @property
    def whole_ms(self) -> int:
        return round(self.whole.total_seconds() * 1000)

    @property
    def spending(self) -> Spending:
        return Spending(self.cost_usd, self.tokens, self.model_calls)

    def within(self, wish: Wish) -> Budgets:
        """Return these budgets, narrower where the wish is narrower."""
        if wish == NOTHING:
            return self
        return replace(
            self,
            cost_usd=narrowed(wish.cost_usd, self.cost_usd),
            tokens=narrowed(wish.tokens, self.tokens),
            model_calls=narrowed(wish.model_calls, self.model_calls),
        )


def part_of(left: Spending, *, among: int) -> Spending:
    """Return an equal part of what is left, rounded down, never less than nothing."""
    shares = max(1, among)
    usd = (max(Decimal(0), left.usd) / shares).quantize(MICRO, rounding=ROUND_DOWN)
    return Spending(usd, max(0, left.tokens) // shares, max(0, left.calls) // shares)
