"""What running turns have shown, stored now and then, so that a wiped stream store loses no word that was finished."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog
from django.db import connection, transaction

from invocation.gateways.database import is_away, off_loop
from invocation.models import Turn
from invocation.services import turn_rows
from invocation.services.pens import Pen
from invocation.services.turn_rows import Shown

EVERY_S = 1.0

log = structlog.get_logger()


class Snapshots:
    """Stores the text of every running turn of a process once a second, all in one statement, those that said something new."""

    def __init__(self, owner: UUID) -> None:
        self._owner = owner
        self._pens: dict[Pen, tuple[Turn, int]] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def of(self, turn: Turn, pen: Pen) -> Iterator[None]:
        """Store what this pen shows while the block lasts."""
        self._pens[pen] = turn, pen.seq
        if self._task is None:
            self._task = asyncio.create_task(self._store_for_ever())
        try:
            yield
        finally:
            del self._pens[pen]

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _store_for_ever(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self._store()
            except Exception as gone:  # noqa: BLE001  (the next second tells all of it again)
                log.warning("shown_text_not_stored", error=str(gone))

    async def _store(self) -> None:
        new = [(pen, turn, pen.seq) for pen, (turn, seq) in self._pens.items() if pen.seq > seq and pen.has_spoken]
        if not new:
            return
        shown = [Shown(turn.pk, turn.attempt, pen.shown, seq) for pen, turn, seq in new]
        await off_loop(_store, shown, owner=self._owner)
        self._pens.update({pen: (turn, seq) for pen, turn, seq in new if pen in self._pens})


def _store(shown: list[Shown], *, owner: UUID) -> None:
    """Store it all together; a text that cannot be kept is found by halves, and left out. Raises what says that the database is away."""
    try:
        _store_together(shown, owner=owner)
    except Exception as broken:
        if is_away(broken):
            raise
        if len(shown) == 1:
            log.warning("shown_text_not_stored", turn_id=str(shown[0].turn_id), error=str(broken))
            return
        middle = len(shown) // 2
        _store(shown[:middle], owner=owner)
        _store(shown[middle:], owner=owner)


@transaction.atomic
def _store_together(shown: list[Shown], *, owner: UUID) -> None:
    """Not waiting for the disk: what a crash of the database takes back is told again or ended as text that was cut."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
    turn_rows.store(shown, owner=owner)
