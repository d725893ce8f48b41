"""Who waits for one model in one process: strict by class, round-robin over tenants, first-in-first-out for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from quota.domain.asks import Ask
from quota.domain.classes import PriorityClass


class Waiting(Protocol):
    """Anyone who stands in the line."""

    @property
    def ask(self) -> Ask: ...


W = TypeVar("W", bound=Waiting)


class Line(Generic[W]):
    """Nobody who came later, and no smaller ask, passes whoever is at the head of a class."""

    def __init__(self) -> None:
        self._tenants: Mapping[PriorityClass, dict[UUID, deque[W]]] = MappingProxyType({word: {} for word in PriorityClass})
        self._counts = dict.fromkeys(PriorityClass, 0)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def count(self, priority_class: PriorityClass) -> int:
        return self._counts[priority_class]

    def join(self, one: W) -> None:
        """Stand at the end of the tenant's own line."""
        lines = self._tenants[one.ask.priority_class]
        lines.setdefault(one.ask.tenant, deque()).append(one)
        self._counts[one.ask.priority_class] += 1

    def leave(self, one: W) -> None:
        """Go without having been served; whoever is not there changes nothing."""
        line = self._tenants[one.ask.priority_class].get(one.ask.tenant)
        if line and one in line:
            line.remove(one)
            self._gone(one)

    def serve(self, one: W) -> None:
        """Go as served: the tenant's next one waits until all other tenants had their turn."""
        self.leave(one)
        lines = self._tenants[one.ask.priority_class]
        rest = lines.pop(one.ask.tenant, None)
        if rest:
            lines[one.ask.tenant] = rest

    def head(self, priority_class: PriorityClass) -> W | None:
        """Return who would be served next."""
        lines = self._tenants[priority_class]
        return next(iter(lines.values()))[0] if lines else None

    def next_of(self, priority_class: PriorityClass, most: int) -> list[W]:
        """Return those who would be served next, in order: every tenant's first, then every tenant's second."""
        rounds = [iter(line) for line in self._tenants[priority_class].values()]
        found: list[W] = []
        while rounds and len(found) < most:
            rounds = [one for one in rounds if _took(one, found)]
        return found[:most]

    def everyone(self) -> list[W]:
        return [one for lines in self._tenants.values() for line in lines.values() for one in line]

    def _gone(self, one: W) -> None:
        self._counts[one.ask.priority_class] -= 1
        lines = self._tenants[one.ask.priority_class]
        if not lines[one.ask.tenant]:
            del lines[one.ask.tenant]


def _took(source: Iterator[W], found: list[W]) -> bool:
    one = next(source, None)
    if one is None:
        return False
    found.append(one)
    return True
