"""A call that waits for its quota: why it still waits, until when that holds, and when its patience ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from quota.domain.asks import Ask, Grant
from quota.domain.errors import QuotaError


@dataclass(slots=True, eq=False)
class Waiter:
    """Moments are monotonic seconds. It is answered once; a second answer changes nothing."""

    ask: Ask
    deadline: float
    answer: asyncio.Future[Grant]
    refusal: QuotaError | None = None
    free_at: float = 0.0

    @property
    def granted(self) -> Grant | None:
        """Return the grant that an abandoned caller never took."""
        is_granted = self.answer.done() and not self.answer.cancelled() and not self.answer.exception()
        return self.answer.result() if is_granted else None

    def hear(self, refusal: QuotaError, *, at: float) -> None:
        """Know why not yet."""
        self.refusal = refusal
        self.free_at = at + (refusal.retry_after or timedelta(0)).total_seconds()

    def is_out_of_patience(self, *, at: float) -> bool:
        """Say whether its time is up, or its wait is known to be longer; nobody is sent off without having asked once."""
        return self.refusal is not None and max(self.free_at, at) > self.deadline

    def serve(self, grant: Grant) -> bool:
        """Hand the grant over; False if the caller has gone away, so that it must be given back."""
        if self.answer.done():
            return False
        self.answer.set_result(grant)
        return True

    def refuse(self, refusal: QuotaError) -> None:
        if not self.answer.done():
            self.answer.set_exception(refusal)
