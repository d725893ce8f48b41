"""A run's budget: money and tokens are reserved before each call, so that parallel calls cannot overshoot.

Its methods do not await: on one event loop each is atomic.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from quota.domain.errors import BudgetSpent


@dataclass(frozen=True, slots=True)
class Spending:
    """An amount of money (US dollars) and of tokens."""

    usd: Decimal = Decimal(0)
    tokens: int = 0

    def __add__(self, other: Spending) -> Spending:
        return Spending(self.usd + other.usd, self.tokens + other.tokens)

    def __sub__(self, other: Spending) -> Spending:
        return Spending(self.usd - other.usd, self.tokens - other.tokens)

    def fits(self, room: Spending) -> bool:
        return self.usd <= room.usd and self.tokens <= room.tokens


@dataclass(frozen=True, slots=True)
class Hold:
    """What one call has set aside."""

    number: int
    amount: Spending


class Budget:
    """Never spends more than its limit, as long as no call uses more than it reserved."""

    def __init__(self, limit: Spending, *, spent: Spending | None = None) -> None:
        self.limit = limit
        self.spent = spent or Spending()
        self._held = Spending()
        self._open: set[int] = set()
        self._count = 0

    @property
    def remaining(self) -> Spending:
        """Return what is neither spent nor held."""
        return self.limit - self.spent - self._held

    def reserve(self, amount: Spending) -> Hold:
        """Set the most that a call can cost aside, before the call. Raises BudgetSpent."""
        remaining = self.remaining
        if not amount.fits(remaining):
            raise BudgetSpent(
                f"The call could cost {amount.usd} USD and {amount.tokens} tokens; "
                f"the budget still holds {remaining.usd} USD and {remaining.tokens} tokens."
            )
        self._count += 1
        self._open.add(self._count)
        self._held += amount
        return Hold(self._count, amount)

    def settle(self, hold: Hold, used: Spending) -> None:
        """Charge what was used in place of what was held. A second settle or release changes nothing."""
        if hold.number in self._open:
            self._open.remove(hold.number)
            self._held -= hold.amount
            self.spent += used

    def release(self, hold: Hold) -> None:
        """Give the hold back: the call was not made, or failed unbilled."""
        self.settle(hold, Spending())
