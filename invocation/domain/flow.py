"""How many rows may run at once against one model: more while it answers, half as many when it refuses.

Additive increase, multiplicative decrease, as TCP shares a line (Chiu and Jain, 1989): whoever shares a provider
with others converges to an equal part without asking them.
"""

from __future__ import annotations

WINDOWS = 32
"""As many windows of answers lead from nothing back to the most."""
LEAST = 1


class Flow:
    """Begins at the most: what quota is known is kept elsewhere; this heeds what only the provider knows."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._limit = float(most)
        self._lowered_at = float("-inf")

    @property
    def limit(self) -> int:
        return int(self._limit)

    def answered(self) -> None:
        """Grow, by as much in each window of answers."""
        if self._limit < self.most:
            self._limit = min(self.most, self._limit + self.most / WINDOWS / self._limit)

    def refused(self, *, began: float, at: float) -> None:
        """Halve, once for all calls that were under way together: those that began before the last time say nothing new."""
        if began >= self._lowered_at:
            self._limit = max(LEAST, self._limit / 2)
            self._lowered_at = at
