"""How long a shard runs before it looks whether others wait for its slot."""

from __future__ import annotations

import time

from django.conf import settings

LOOK_AGAIN_S = 2.0


class TimeSlice:
    """The time of a shard for which it makes no way: it begins with the first row that begins, and not while its manifest is read.

    It lasts as long as it took to come to that row, at least: of the time of a shard that makes way again and again no more than
    half goes into reading.
    """

    def __init__(self) -> None:
        self._made_at = time.monotonic()
        self._next_look: float | None = None

    def begin(self) -> None:
        """Say that a row begins; the first time counts."""
        if self._next_look is None:
            now = time.monotonic()
            self._next_look = now + max(settings.SHARD_SLICE_S, now - self._made_at)

    def is_over(self) -> bool:
        """Say whether it is time to look who waits: at the slice's end, and then every two seconds."""
        now = time.monotonic()
        if self._next_look is None or now <= self._next_look:
            return False
        self._next_look = now + min(settings.SHARD_SLICE_S, LOOK_AGAIN_S)
        return True
