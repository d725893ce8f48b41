"""A limit on tokens a minute that holds in every window of a minute, wherever it begins."""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0


class SlidingMinute:
    """Tokens taken during the last minute, against a limit. Moments are seconds of one clock that only grows."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def take(self, tokens: int, *, now: float) -> float:
        """Take the tokens and return 0, or take none and return the seconds until they fit (a whole window if never)."""
        self._forget(now)
        excess = self._sum + tokens - self._limit
        if excess > 0:
            return self._wait(excess, now)
        self._taken.append((now, tokens))
        self._sum += tokens
        return 0.0

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - WINDOW_S:
            self._sum -= self._taken.popleft()[1]

    def _wait(self, excess: int, now: float) -> float:
        for moment, tokens in self._taken:
            excess -= tokens
            if excess <= 0:
                return moment + WINDOW_S - now
        return WINDOW_S
