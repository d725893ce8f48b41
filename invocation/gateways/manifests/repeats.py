"""Finds names that occur twice among millions: 64 bits are kept of each, and what looks alike is read again."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

BUCKETS = 256
AT_ONCE = 100_000


class Names:
    """The names of a manifest's rows, some nine bytes each."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(BUCKETS)]

    def add(self, name: str) -> None:
        number = hash(name)
        self._buckets[number & BUCKETS - 1].append(number)

    def alike(self) -> Iterator[frozenset[int]]:
        """Yield, some at a time, the hashes that more than one name has: only a look at the names says whether they are equal."""
        found: set[int] = set()
        for bucket in self._buckets:
            found |= _repeated(bucket)
            if len(found) >= AT_ONCE:
                yield frozenset(found)
                found = set()
        if found:
            yield frozenset(found)


def _repeated(bucket: array[int]) -> set[int]:
    if len(set(bucket)) == len(bucket):
        return set()
    return {number for number, count in Counter(bucket).items() if count > 1}


def first_repeat(names: Iterator[tuple[str, int]], among: frozenset[int]) -> tuple[str, int, int] | None:
    """Return the first name that occurs again, with its two lines, among names whose hashes these are; None if they only look alike."""
    lines: dict[str, int] = {}
    for name, line in names:
        if hash(name) in among:
            if name in lines:
                return name, lines[name], line
            lines[name] = line
    return None
