"""The moments by which one turn must have spoken, and ended; one timer keeps both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from invocation.domain.turn_errors import LatencyBudget, LatencyBudgetExceeded
from invocation.models import Turn

T = TypeVar("T")


class TurnLimits:
    """A turn's deadlines, which count from its receipt: what waited too long in a queue ends at once."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._must_speak_by = turn.first_delta_deadline
        self._timer: asyncio.Timeout | None = None

    @property
    def left(self) -> timedelta:
        """The time until the next of the deadlines."""
        return min(self._turn.deadline, self._must_speak_by or self._turn.deadline) - datetime.now(UTC)

    async def keep(self, act: Callable[[], Awaitable[T]]) -> T:
        """Return what `act` returns. Raises LatencyBudgetExceeded: past a deadline it is not begun, or it was cancelled there."""
        if self.left <= timedelta():
            raise self.exceeded(now=datetime.now(UTC))
        try:
            async with asyncio.timeout(self.left.total_seconds()) as self._timer:
                return await act()
        except TimeoutError:
            raise self.exceeded(now=datetime.now(UTC)) from None

    def has_spoken(self) -> None:
        """Note that the first words are out, or that they may wait for a verdict: from now on the whole turn's deadline counts."""
        if self._must_speak_by is not None and self._timer is not None and not self._timer.expired():
            self._must_speak_by = None
            self._timer.reschedule(asyncio.get_running_loop().time() + self.left.total_seconds())

    def exceeded(self, *, now: datetime) -> LatencyBudgetExceeded:
        """Return which deadline was not kept, for a turn that ran into one."""
        if self._must_speak_by is None or now >= self._turn.deadline:
            return LatencyBudgetExceeded(LatencyBudget.WHOLE, self._turn.latency_budget_ms)
        promised = self._must_speak_by - self._turn.received_at
        return LatencyBudgetExceeded(LatencyBudget.FIRST_DELTA, round(promised.total_seconds() * 1000))
