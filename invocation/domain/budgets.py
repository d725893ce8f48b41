"""What binds one invocation: the mode's ceilings, narrower by its endpoint, narrower by its request, never wider."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from typing import TypeVar

from quota.domain.budgets import Budget, Hold, Spending
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


@dataclass(frozen=True, slots=True)
class Sharers:
    """Among how many shards at least, and at most, what is left of a batch's caps is shared when one sets some of it aside."""

    least: int
    most: int

    def among(self, others: int) -> int:
        return min(max(others, self.least), self.most)


SHARERS = (Sharers(64, 64), Sharers(16, 64), Sharers(4, 64), Sharers(1, 64), Sharers(1, 1))
"""First as if there were many, whoever is there: what an attempt has set aside is lost with it. Where a call does not fit,
step by step to the shard's fair part, and then to all the rest."""


class Allowance(Budget):
    """What one shard may spend of its batch's cap: set aside in the database, in part committed there, and widened as it goes."""

    widenings = 0
    settlements = 0

    @property
    def holds_something(self) -> bool:
        """Say whether a call is under way that may give back what it does not use."""
        return bool(self._open)

    def settle(self, hold: Hold, used: Spending) -> None:
        super().settle(hold, used)
        self.settlements += 1

    def commit(self, spending: Spending) -> None:
        """Leave out what the database counts as spent from now on."""
        self.limit -= spending

    def widen(self, limit: Spending) -> None:
        """Take note of what is set aside now."""
        if limit != self.limit:
            self.remaining += limit - self.limit
            self.limit = limit
            self.widenings += 1

    def is_narrower_than(self, other: Spending) -> bool:
        """Say whether it, rather than the other, is what a call does not fit into."""
        return not other.fits(self.remaining)

    def is_low(self, *, of: Spending) -> bool:
        """Say whether less than half is left of something."""
        return not of.fits(self.remaining.times(2))
