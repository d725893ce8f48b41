"""A block: quota that a busy process leases in one exchange and serves calls of one class from by itself.

A block counts whole, from its grant until a minute after its expiry, whatever becomes of the process: one that
dies with it gives nothing back, and so nobody gives it back twice. No call begins on it after its expiry.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from quota.domain.classes import PriorityClass
from quota.domain.exchanges import Close, Place

LIFE_S = 1.0
AHEAD_S = 0.5  # what of the demand of the last second a block covers
FROM_CALLS = 4  # in the last second: fewer are asked one by one
QUANTUM = 20  # no block is more than a twentieth of what its class has a minute


@dataclass(slots=True, eq=False)
class Block:
    """Moments are monotonic seconds. `tokens` and `requests` are what was leased, `*_left` what no call has taken."""

    priority_class: PriorityClass
    place: Place
    tokens: int
    requests: int
    expires_at: float
    is_open: bool = True
    is_placed: bool = True
    """Whether the store has it at `place`: not while its end is on the way there."""
    tokens_left: int = field(init=False)
    requests_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens_left, self.requests_left = self.tokens, self.requests

    def take(self, tokens: int, *, at: float) -> bool:
        """Take a call's tokens and one request, if the block is valid and holds so much."""
        if not self.is_open or at >= self.expires_at or tokens > self.tokens_left or self.requests_left < 1:
            return False
        self.tokens_left -= tokens
        self.requests_left -= 1
        return True

    def put_back(self, tokens: int, requests: int) -> bool:
        """Put back what a call did not use (or take what it used on top); say whether the block still counts it."""
        if not self.is_open:
            return False
        self.tokens_left += tokens
        self.requests_left += requests
        return True

    def close(self) -> Close:
        """End the block; what its calls have taken stays charged until each of them is settled."""
        self.is_open = self.is_placed = False
        return Close(
            priority_class=self.priority_class,
            place=self.place,
            tokens=self.tokens,
            requests=self.requests,
            used_tokens=self.tokens - self.tokens_left,
            used_requests=self.requests - self.requests_left,
        )

    def ended(self, slot: int | None) -> None:
        """The store charges it at this slot from now on, or, as far as is known, where it did."""
        self.is_placed = True
        if slot is not None:
            self.place = Place(slot, slot, self.place.generation)


class Demand:
    """What was asked for in the last second."""

    def __init__(self) -> None:
        self._asked: deque[tuple[float, int]] = deque()
        self._tokens = 0

    def note(self, tokens: int, *, at: float) -> None:
        self._forget(at)
        self._asked.append((at, tokens))
        self._tokens += tokens

    def of_a_block(self, *, at: float) -> tuple[int, int]:
        """Return the tokens and requests that a block should hold; nothing while there are too few calls for one."""
        self._forget(at)
        if len(self._asked) < FROM_CALLS:
            return 0, 0
        return int(self._tokens * AHEAD_S), max(int(len(self._asked) * AHEAD_S), 1)

    def _forget(self, at: float) -> None:
        while self._asked and self._asked[0][0] < at - 1.0:
            self._tokens -= self._asked.popleft()[1]
