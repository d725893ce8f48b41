"""What a process knows of rows that operators change: one snapshot, at most 5 s old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django import db

from quota.services.shared_reads import SharedReads

T = TypeVar("T")
FRESH_S = 4.0  # and up to a second to read


class Snapshot(Generic[T]):
    """The rows as they were read last. While the database is away, what was known last holds."""

    def __init__(self, read: Callable[[], T], *, nothing: T) -> None:
        self._read = read
        self._nothing = nothing
        self._lock = threading.Lock()
        self._reads: SharedReads[None] = SharedReads()
        self.forget()

    def forget(self) -> None:
        """Make the next question read the rows again."""
        self._rows, self._at = self._nothing, float("-inf")

    async def fresh(self) -> T:
        """Return the rows, read anew if they are older than the others may see; the loop does not wait for the database."""
        if self._is_stale():
            await self._reads.of(self, self._refresh)
        return self._rows

    def known(self) -> T:
        """Return the rows in a thread, read over its own database connection and inside its transaction."""
        if self._is_stale():
            self._rows, self._at = self._read_or_last(), time.monotonic()
        return self._rows

    def _is_stale(self) -> bool:
        return time.monotonic() - self._at > FRESH_S

    def _refresh(self) -> None:
        with self._lock:
            if self._is_stale():
                self._rows, self._at = self._closing(), time.monotonic()

    def _closing(self) -> T:
        try:
            return self._read_or_last()
        finally:
            db.connection.close()

    def _read_or_last(self) -> T:
        try:
            return self._read()
        except (db.OperationalError, db.InterfaceError):
            return self._rows
