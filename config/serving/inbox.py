"""What a connection has received and the application has not read yet; bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

MOST_UNREAD = 64
"""Frames. Whoever sends further ahead is not a person that types."""


class Inbox:
    """The queue between a WebSocket and its consumer. A frame too many ends the connection and is dropped."""

    def __init__(self, queue: asyncio.Queue[Mapping[str, Any]], overflow: Callable[[], None]) -> None:
        self._queue = queue
        self._overflow = overflow

    def put_nowait(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "websocket.receive" and self._queue.qsize() >= MOST_UNREAD:
            self._overflow()
            return
        self._queue.put_nowait(message)
