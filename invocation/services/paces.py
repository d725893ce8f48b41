"""How fast each model answered this process lately."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta

from agents.domain.values import Reply, Tier
from invocation.domain.speeds import BEST, NEXT, Speed

_seen: dict[str, Speed] = {}


def estimate(model: str, tier: str, *, most_tokens: int) -> timedelta:
    """Return how long a call usually takes."""
    return _speed(model, tier).estimate(most_tokens=most_tokens)


def forget() -> None:
    """Believe again what is believed of a model that was not asked yet."""
    _seen.clear()


@dataclass(slots=True)
class Watch:
    """Measures one answer as it streams."""

    model: str
    tier: str
    _asked: float = field(default_factory=time.monotonic)
    _first: float | None = None

    def first_piece(self) -> float:
        """Take note of the first piece and return how many seconds it was waited for."""
        self._first = time.monotonic()
        return self._first - self._asked

    def whole(self, reply: Reply) -> None:
        """Learn from an answer that came to its end."""
        now = time.monotonic()
        first = self._first if self._first is not None else now
        known = _speed(self.model, self.tier)
        _seen[self.model] = known.learned(first_s=first - self._asked, rest_s=now - first, tokens=reply.usage.output)


def _speed(model: str, tier: str) -> Speed:
    return _seen.get(model) or (BEST if tier == Tier.STANDARD else NEXT)
