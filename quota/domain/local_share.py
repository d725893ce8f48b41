"""What one process may give to p0 while the quota store is away: a share small enough for several processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from quota.domain.limits import Limits

PROCESSES = 4
BURST_S = 30
NEVER = timedelta.max


def rate(limits: Limits) -> float:
    """Return the tokens per second of one process: a quarter of what is reserved for p0."""
    return limits.tokens_per_minute * limits.p0_reserved / PROCESSES / 60


@dataclass(slots=True)
class LocalShare:
    """A bucket in memory that holds half a minute of its rate. Moments are monotonic seconds."""

    level: float = float("inf")
    at: float = 0.0

    def take(self, tokens: int, *, rate: float, at: float) -> timedelta:
        """Take the tokens and return zero, or take none and return how long to wait (NEVER, if they cannot fit)."""
        capacity = BURST_S * rate
        self.level = min(capacity, self.level + max(at - self.at, 0) * rate)
        self.at = at
        if tokens > capacity:
            return NEVER
        if tokens > self.level:
            return timedelta(seconds=(tokens - self.level) / rate)
        self.level -= tokens
        return timedelta(0)
