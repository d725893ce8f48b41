"""How a shard is run that has lost a worker: few rows at a time, then one, and each kept before many more begin."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from invocation.domain.batches import Row
from invocation.domain.losses import care, forgiven, is_of_its_row
from invocation.services.finished_rows import FinishedRow, lost


class Caution:
    """Of one run of a shard; lives on its loop. Without a loss it is never on. Rows are told by their places in the shard."""

    def __init__(self, losses: int) -> None:
        self._losses = losses
        self._care = care(losses)
        self._to_begin = self._care.rows if self._care else 0
        self._begun: set[int] = set()
        self._unkept = 0
        self._blames = is_of_its_row(losses)
        self._kept = asyncio.Event()

    @property
    def losses(self) -> int:
        """Return how many workers it lost, while its rows still run with care."""
        return self._losses if self._is_on else 0

    @property
    def at_once(self) -> int | None:
        """Return how many rows may run at once; nothing where no care is needed."""
        return self._care.at_once if self._care and self._is_on else None

    @property
    def _is_on(self) -> bool:
        return bool(self._to_begin or self._begun)

    def begin(self, place: int, row: Row) -> FinishedRow | None:
        """Hear that a row begins. Return its end, if it is the first in line and workers vanished under it."""
        if self._to_begin:
            self._to_begin -= 1
            self._begun.add(place)
        blames, self._blames = self._blames, False
        return lost(place, row) if blames else None

    def losses_behind(self, places: Collection[int]) -> int:
        """Return what is held against the shard once these rows are in a checkpoint too.

        Care is over when all that began with it is kept, so that a row that ends its process late is not forgotten.
        """
        return forgiven(self._losses) if self._to_begin or self._begun.difference(places) else 0

    def kept(self, places: Collection[int]) -> None:
        """Hear that these rows are in a checkpoint."""
        if places:
            self._losses = self.losses_behind(places)
        self._begun.difference_update(places)
        self._unkept -= len(places)
        self._kept.set()

    async def finished(self, bell: asyncio.Event) -> None:
        """Hear that a row is finished; once as many as may run at once are in no checkpoint, ask for one and wait for it.

        So few are begun and not kept when a worker vanishes: one by one they are found again.
        """
        self._unkept += 1
        while self.at_once and self._unkept >= self.at_once:
            self._kept.clear()
            bell.set()
            await self._kept.wait()
