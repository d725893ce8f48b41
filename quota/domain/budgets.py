"""A run's budget: money, tokens and calls are reserved before each call, so that parallel calls cannot overshoot.

Its methods do not await: on one event loop each is atomic.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from quota.domain.errors import BudgetSpent
from quota.domain.resources import Resource

BOUNDLESS = 10**15


class Spending(NamedTuple):
    """An amount of money (US dollars), of tokens, and of model calls."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    calls: int = 0

    def __add__(self, other: Spending) -> Spending:  # type: ignore[override]  # amounts add up, they are not joined
        return Spending(self.usd + other.usd, self.tokens + other.tokens, self.calls + other.calls)

    def __sub__(self, other: Spending) -> Spending:
        return Spending(self.usd - other.usd, self.tokens - other.tokens, self.calls - other.calls)

    def times(self, count: int) -> Spending:
        return Spending(self.usd * count, self.tokens * count, self.calls * count)

    def lacking(self, room: Spending) -> Resource | None:
        """Return the first thing of which the room has too little, or nothing."""
        if self.usd > room.usd:
            return Resource.MONEY
        if self.tokens > room.tokens:
            return Resource.TOKENS
        return Resource.CALLS if self.calls > room.calls else None

    def fits(self, room: Spending) -> bool:
        return self.lacking(room) is None

    def within(self, other: Spending) -> Spending:
        """Return the smaller of each."""
        return Spending(min(self.usd, other.usd), min(self.tokens, other.tokens), min(self.calls, other.calls))

    def __str__(self) -> str:
        return f"{self.usd} USD, {self.tokens} tokens and {self.calls} model calls"


NONE = Spending()


def of_money(usd: Decimal) -> Spending:
    """Return a limit of money alone."""
    return Spending(usd, BOUNDLESS, BOUNDLESS)


def must_fit(amount: Spending, room: Spending, *, whose: str = "budget") -> None:
    """Raise BudgetSpent, naming what runs out, unless there is room for the amount."""
    lacking = amount.lacking(room)
    if lacking is not None:
        raise BudgetSpent(f"The call could take {amount}; the {whose} still holds {room}.", what=lacking)


class Hold(NamedTuple):
    """What one call has set aside."""

    number: int
    amount: Spending


class Budget:
    """Never spends more than its limit, as long as no call uses more than it reserved."""

    def __init__(self, limit: Spending) -> None:
        self.limit = limit
        self.remaining = limit
        """What is neither spent nor held."""
        self._open: set[int] = set()
        self._count = 0

    def reserve(self, amount: Spending) -> Hold:
        """Set the most that a call can cost aside, before the call. Raises BudgetSpent."""
        must_fit(amount, self.remaining)
        self._count += 1
        self._open.add(self._count)
        self.remaining -= amount
        return Hold(self._count, amount)

    def settle(self, hold: Hold, used: Spending) -> None:
        """Charge what was used in place of what was held. A second settle or release changes nothing."""
        if hold.number in self._open:
            self._open.remove(hold.number)
            self.remaining += hold.amount - used

    def release(self, hold: Hold) -> None:
        """Give the hold back: the call was not made, or failed unbilled."""
        self.settle(hold, NONE)
