"""Celery's pool of threads, which tells the worker's loop when a thread is free again.

A worker without prefetch reads no message while all its threads are busy, and Celery's own pool of threads ends its
tasks without a word: the loop, asleep until something comes from the broker, would look again only a second later.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from celery.concurrency.thread import TaskPool


class Threads(TaskPool):
    """Celery makes one a worker, by the setting `worker_pool`, and gives it the loop after each connection to the broker."""

    _loop: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        self._loop = hub

    def on_apply(self, *args: Any, **named: Any) -> Any:
        applied = super().on_apply(*args, **named)
        applied.f.add_done_callback(self._freed)
        return applied

    def _freed(self, _: Future[Any]) -> None:
        """Let the loop go round once: it asks for the next message then. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon(_nothing)


def _nothing() -> None:
    """What the loop does when it wakes is its own."""
