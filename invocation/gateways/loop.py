"""The one asyncio loop of a worker process, on a thread of its own, made at first need."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Hands coroutines from Celery's threads to one shared loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start the coroutine on the loop and return at once; the future answers, and cancels, from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = self._start()
            return self._loop

    @staticmethod
    def _start() -> asyncio.AbstractEventLoop:
        import uvloop  # noqa: PLC0415  (only workers need it)

        loop = uvloop.new_event_loop()
        threading.Thread(target=loop.run_forever, name="runs", daemon=True).start()
        return loop


runs = LoopThread()
