"""A shard's rows in the order in which they run, read on where they were when a read failed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from invocation.domain.batches import Row
from invocation.domain.errors import ManifestInvalid
from invocation.gateways.stores import Stamp
from invocation.services import manifests
from invocation.services.shards import ShardClaimed


class ShardRows:
    """Reads files, by one thread at a time, and never on the loop."""

    def __init__(self, claimed: ShardClaimed, redo: Collection[int]) -> None:
        """The rows at the places `redo` failed in an earlier round: they come first."""
        self._claimed, self._redo = claimed, redo
        self._source: Iterator[tuple[int, Row]] | None = None
        self._found: Stamp | None = None
        self._given = 0

    def read(self, count: int) -> list[tuple[int, Row]]:
        """Return so many rows more, each with its place; fewer at the end. What raised may be asked again: no row is left out.

        No row is given of a file that was written since its slice was found to be what was planned: then that is looked at again.
        Raises ManifestChanged where it is not that any more, or is written meanwhile once more.
        """
        try:
            block = self._planned(count)
        except BaseException:
            self._source = None
            raise
        self._given += len(block)
        return block

    def _planned(self, count: int) -> list[tuple[int, Row]]:
        block = self._block(count)
        if block is None:
            self._source = None
            block = self._block(count)
        if block is None:
            raise manifests.written(self._claimed.slice)
        return block

    def _block(self, count: int) -> list[tuple[int, Row]] | None:
        """Return the next rows; nothing where the file was written meanwhile."""
        if self._source is None:
            self._found = self._stamp()
            self._source = islice(self._rows(), self._given, None)
        try:
            block = list(islice(self._source, count))
        except ManifestInvalid:
            if self._stamp() == self._found:
                raise
            return None
        return block if self._stamp() == self._found else None

    def _stamp(self) -> Stamp:
        return manifests.stamp(self._claimed.batch, self._claimed.slice)

    def _rows(self) -> Iterator[tuple[int, Row]]:
        batch, part, position = self._claimed.batch, self._claimed.slice, self._claimed.shard.position
        if self._redo:
            again = enumerate(manifests.read(batch, part, skip=0))
            yield from ((place, row) for place, row in again if place in self._redo)
        rest = enumerate(manifests.read(batch, part, skip=position), position)
        yield from ((place, row) for place, row in rest if place not in self._redo)
