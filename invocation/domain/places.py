"""Which rows of a shard are finished: all before its position, and some ahead of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranges = Sequence[Sequence[int]]


class Places:
    """Rows by their place in the shard, from 0. Built again from `position` and `ahead`, it is the same."""

    def __init__(self, position: int = 0, ahead: Ranges = ()) -> None:
        self.position = position
        self._ahead = {place for first, end in ahead for place in range(first, end)}

    def __contains__(self, place: int) -> bool:
        return place < self.position or place in self._ahead

    def add(self, places: Iterable[int]) -> None:
        """Take note of finished rows, and move the position over all up to the first that is not."""
        self._ahead.update(places)
        while self.position in self._ahead:
            self._ahead.remove(self.position)
            self.position += 1

    @property
    def count_ahead(self) -> int:
        return len(self._ahead)

    @property
    def ahead(self) -> list[list[int]]:
        """Return [first, end) of each run of rows that are finished ahead of the position."""
        runs: list[list[int]] = []
        for place in sorted(self._ahead):
            if runs and runs[-1][1] == place:
                runs[-1][1] += 1
            else:
                runs.append([place, place + 1])
        return runs
