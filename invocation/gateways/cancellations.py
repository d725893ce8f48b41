"""Keeps the cancellations that a client of Redis would lose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """Raise CancelledError at the end, whatever came of it, if the current task was cancelled inside.

    redis-py sends under `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes as the sending ends
    (CPython gh-86296): whoever was stopped would go on.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
