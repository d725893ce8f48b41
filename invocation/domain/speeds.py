"""How fast a model answers, as one process has lately seen it: the wait for its first token, its pace, and how long its answers are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

WEIGHT = 0.2
"""What the newest answer counts for (an exponentially weighted moving average): five answers make most of the figure."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds to the first token, seconds a token after it, and tokens of a usual answer."""

    first_s: float
    token_s: float
    tokens: float

    def estimate(self, *, most_tokens: int) -> timedelta:
        """Return how long a call usually takes whose answer has at most so many tokens."""
        return timedelta(seconds=self.first_s + self.token_s * min(self.tokens, most_tokens))

    def learned(self, *, first_s: float, rest_s: float, tokens: int) -> Speed:
        """Return the speed after one more whole answer."""
        pace = rest_s / tokens if tokens else self.token_s
        return Speed(_mixed(self.first_s, first_s), _mixed(self.token_s, pace), _mixed(self.tokens, tokens))


BEST = Speed(first_s=0.6, token_s=0.012, tokens=150)
NEXT = Speed(first_s=0.3, token_s=0.006, tokens=150)
"""What is believed of a tier that was not asked yet: the ones below the best are quicker."""


def _mixed(known: float, seen: float) -> float:
    return known + WEIGHT * (seen - known)
