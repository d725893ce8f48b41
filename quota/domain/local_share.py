"""What one process may give to p0 while the quota store is away: a share small enough for several processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from quota.domain.limits import Limits

PROCESSES = 4
BURST_S = 30
NEVER = timedelta.max


@dataclass(frozen=True, slots=True)
class Rate:
    """What one process may use a second."""

    tokens: float
    requests: float


def rate(limits: Limits) -> Rate:
    """Return one process's part: a quarter of what is reserved for p0."""
    part = limits.p0_reserved / PROCESSES / 60
    return Rate(limits.tokens_per_minute * part, limits.requests_per_minute * part)


@dataclass(slots=True)
class LocalShare:
    """Two buckets in memory that hold half a minute of their rate, and one request at least. Moments are monotonic seconds."""

    tokens: float = float("inf")
    requests: float = float("inf")
    at: float = 0.0

    def take(self, tokens: int, *, rate: Rate, at: float) -> timedelta:
        """Take the tokens and one request and return zero, or take none and return how long to wait (NEVER, if they cannot fit)."""
        passed, self.at = max(at - self.at, 0), at
        self.tokens = min(BURST_S * rate.tokens, self.tokens + passed * rate.tokens)
        self.requests = min(max(BURST_S * rate.requests, 1), self.requests + passed * rate.requests)
        if tokens > BURST_S * rate.tokens or not rate.requests:
            return NEVER
        wait = max((tokens - self.tokens) / rate.tokens if tokens else 0, (1 - self.requests) / rate.requests, 0)
        if not wait:
            self.tokens -= tokens
            self.requests -= 1
        return timedelta(seconds=wait)
