"""Does one thing after another in a process, however many threads are asked to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID


class InTurn:
    """Keeps one thread of this process at most, whose others are for shards. `take` may be called from any thread."""

    def __init__(self, act: Callable[[UUID], object]) -> None:
        self._act = act
        self._one = threading.Lock()
        self._is_ending = threading.Event()
        self._list = threading.Lock()
        self._waiting: dict[UUID, None] = {}

    def end(self) -> None:
        """Begin nothing any more: what waits is left to another process, by whoever sends it again."""
        self._is_ending.set()

    def take(self, wanted: UUID) -> None:
        """Act on it now, and on what came meanwhile; where another is acted on, it is left to that thread, once.

        Raises what the act raises: what waits then is acted on behind the next that is taken.
        """
        with self._list:
            self._waiting[wanted] = None
        while self._waiting and not self._is_ending.is_set() and self._one.acquire(blocking=False):
            try:
                if (first := self._first()) is not None:
                    self._act(first)
            finally:
                self._one.release()

    def _first(self) -> UUID | None:
        """Return what waits longest; nothing, where another thread has acted on it meanwhile."""
        with self._list:
            first = next(iter(self._waiting), None)
            if first is not None:
                del self._waiting[first]
            return first
