"""How a shard is run that has lost a worker: one row at a time for a while, each kept before the next begins: so one knows which ran."""

from __future__ import annotations

import asyncio

from invocation.domain.batches import Row
from invocation.domain.losses import CAREFUL_ROWS, is_of_its_row
from invocation.services.finished_rows import FinishedRow, lost


class Caution:
    """Of one run of a shard; lives on its loop. Without a loss it is never on."""

    def __init__(self, losses: int) -> None:
        self._losses = losses
        self._left = CAREFUL_ROWS if losses else 0
        self._blames = is_of_its_row(losses)
        self._kept = asyncio.Event()

    @property
    def is_on(self) -> bool:
        return self._left > 0

    @property
    def losses(self) -> int:
        """Return how many workers it lost, while its rows still run with care."""
        return self._losses if self.is_on else 0

    def blamed(self, place: int, row: Row) -> FinishedRow | None:
        """Return the end of the first row in line, if that is the one under which workers vanished."""
        blames, self._blames = self._blames, False
        return lost(place, row) if blames else None

    def kept(self, count: int) -> None:
        """Hear that so many rows are in a checkpoint."""
        self._left = max(0, self._left - count)
        self._kept.set()

    async def until_kept(self, bell: asyncio.Event) -> None:
        """Ask for a checkpoint and wait until it has what is finished."""
        self._kept.clear()
        bell.set()
        await self._kept.wait()
