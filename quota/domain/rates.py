"""A tenant's requests per minute: this minute's count and a share of the last one's."""

from __future__ import annotations

import math
from dataclasses import dataclass

MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Rate:
    """What the RateLimit headers say. `reset_s` is when more becomes free, in whole seconds, at least one."""

    limit: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests let through in this minute and in the last, and how much of this minute has passed (0 to 1)."""

    current: int
    before: int
    passed: float

    def rate(self, limit: int) -> Rate:
        used = self.current + self.before * (1 - self.passed)
        return Rate(limit, max(math.floor(limit - used), 0), self._reset_s(limit))

    def _reset_s(self, limit: int) -> int:
        """Return when one more request fits, or, if one fits already, when this minute ends."""
        rest = 1 - self.passed
        if self.current + 1 > limit:
            until = rest + max(1 - (limit - 1) / self.current, 0)
        elif self.current + self.before * rest + 1 > limit:
            until = rest - (limit - self.current - 1) / self.before
        else:
            until = rest
        return max(math.ceil(until * MINUTE_S), 1)
