"""A shard's rows in the order in which they run, read on where they were when a read failed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from invocation.domain.batches import Row
from invocation.services import manifests
from invocation.services.shards import ShardClaimed


class ShardRows:
    """Reads files, by one thread at a time, and never on the loop."""

    def __init__(self, claimed: ShardClaimed, redo: Collection[int]) -> None:
        """The rows at the places `redo` failed in an earlier round: they come first."""
        self._claimed, self._redo = claimed, redo
        self._source: Iterator[tuple[int, Row]] | None = None
        self._given = 0

    def read(self, count: int) -> list[tuple[int, Row]]:
        """Return so many rows more, each with its place; fewer at the end. What raised may be asked again: no row is left out."""
        if self._source is None:
            self._source = islice(self._rows(), self._given, None)
        try:
            block = list(islice(self._source, count))
        except BaseException:
            self._source = None
            raise
        self._given += len(block)
        return block

    def _rows(self) -> Iterator[tuple[int, Row]]:
        batch, part, position = self._claimed.batch, self._claimed.slice, self._claimed.shard.position
        if self._redo:
            again = enumerate(manifests.read(batch, part, skip=0))
            yield from ((place, row) for place, row in again if place in self._redo)
        rest = enumerate(manifests.read(batch, part, skip=position), position)
        yield from ((place, row) for place, row in rest if place not in self._redo)
