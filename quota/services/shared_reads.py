"""Reads that callers of one moment share: one thread reads, and all of them hear what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedReads(Generic[T]):
    """What is under way on each event loop of the process."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, Hashable], asyncio.Future[T]] = {}

    async def of(self, what: Hashable, read: Callable[[], T]) -> T:
        """Read in a thread, or hear what a read of the same finds that is under way; a caller who is cancelled ends it for nobody."""
        place = asyncio.get_running_loop(), what
        reading = self._under_way.get(place)
        if reading is None:
            reading = self._under_way[place] = asyncio.ensure_future(asyncio.to_thread(read))
            reading.add_done_callback(lambda _: self._under_way.pop(place))
        return await asyncio.shield(reading)
