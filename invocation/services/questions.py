"""What the followers of this process ask of PostgreSQL: together, beside their streams, and none of them waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID
from weakref import WeakKeyDictionary

import structlog
from django.db import Error

from invocation.gateways.grouping import Grouper
from invocation.selectors.chat import NOTHING_STORED, Stored, stored_of

log = structlog.get_logger()

ANSWER_S = 0.3
"""A stream waits no longer for PostgreSQL: its reader is to hear what the log has."""
TOGETHER = 64
ABREAST = 2
"""The database threads that all followers take together, however many they are and however long an answer takes."""

_desks: WeakKeyDictionary[asyncio.AbstractEventLoop, Grouper[tuple[UUID, int], Stored]] = WeakKeyDictionary()


class Question:
    """Asks for one reader, one question at a time. An answer that comes late is kept for the next time, and told of by `late`."""

    def __init__(self, session_id: UUID, *, late: Callable[[], None] = lambda: None) -> None:
        self._session_id = session_id
        self._late = late
        self._is_late = False
        self._asking: asyncio.Task[Stored] | None = None

    async def answer(self, *, behind: int) -> Stored:
        """Return what is stored behind a seq; NOTHING_STORED, itself, while PostgreSQL is away or takes its time.

        The answer may be to the question before, behind a smaller seq; it is older than whatever is read of the log now.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(behind))
        await asyncio.wait([self._asking], timeout=ANSWER_S)
        if not self._asking.done():
            self._is_late = True
            return NOTHING_STORED
        asked, self._asking, self._is_late = self._asking, None, False
        return asked.result()

    def drop(self) -> None:
        """Ask nothing any more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, behind: int) -> Stored:
        try:
            return await _desk().do((self._session_id, behind))
        except Error as gone:
            log.warning("stored_text_not_read", session=str(self._session_id), error=str(gone))
            return NOTHING_STORED
        finally:
            if self._is_late:
                self._late()


def _desk() -> Grouper[tuple[UUID, int], Stored]:
    """Return where this loop's followers ask together."""
    loop = asyncio.get_running_loop()
    if loop not in _desks:
        _desks[loop] = Grouper(stored_of, abreast=ABREAST, most=TOGETHER)
    return _desks[loop]
