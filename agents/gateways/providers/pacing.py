"""How fast the offline model speaks: moments that follow from a pace, a load and a seed, and waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """The pace of one stream while at most `capacity` calls are open; beyond it every stream slows down in proportion.

    `jitter` is the share by which a single length may be shorter or longer.
    """

    first_token: timedelta = timedelta(milliseconds=200)
    per_token: timedelta = timedelta(milliseconds=20)
    jitter: float = 0.2
    capacity: int = 64

    @classmethod
    def instant(cls) -> Pacing:
        """Return the pace that never sleeps."""
        return cls(first_token=timedelta(0), per_token=timedelta(0), jitter=0.0)

    @property
    def is_instant(self) -> bool:
        return not (self.first_token or self.per_token)

    def slowdown(self, in_flight: int) -> float:
        """Return by how much all lengths grow when so many calls are open: 1 up to the capacity."""
        return max(1.0, in_flight / self.capacity)

    def slower(self, factor: float) -> Pacing:
        return replace(self, first_token=self.first_token * factor, per_token=self.per_token * factor)


class Tempo:
    """The due moments of one stream, in seconds after its start.

    Each moment follows from the one before and never from the clock, so that a late
    stream catches up at once and does not drift.
    """

    def __init__(self, pacing: Pacing, *, seed: int, in_flight: Callable[[], int]) -> None:
        self._first = pacing.first_token.total_seconds()
        self._interval = pacing.per_token.total_seconds()
        self._pacing = pacing
        self._luck = Random(seed).random  # noqa: S311  (pacing, not secrecy)
        self._in_flight = in_flight
        self._due = 0.0
        self._is_first = True

    def advance(self) -> float:
        """Return when the next token is due."""
        base = self._first if self._is_first else self._interval
        self._is_first = False
        jitter = 1.0 + self._pacing.jitter * (2.0 * self._luck() - 1.0)
        self._due += base * jitter * self._pacing.slowdown(self._in_flight())
        return self._due


async def wait_until(moment: float) -> None:
    """Sleep until this moment of the running loop's clock; return at once if it has passed."""
    loop = asyncio.get_running_loop()
    if moment <= loop.time():
        return
    due: asyncio.Future[None] = loop.create_future()
    timer = loop.call_at(moment, _come, due)
    try:
        await due
    finally:
        timer.cancel()


def _come(due: asyncio.Future[None]) -> None:
    if not due.done():
        due.set_result(None)
