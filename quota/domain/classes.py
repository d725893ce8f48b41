"""The priority classes: who goes first when there is not enough for all."""

from __future__ import annotations

from enum import StrEnum


class PriorityClass(StrEnum):
    """From the highest to the lowest; also the names of the Celery queues."""

    P0 = "p0"
    P1 = "p1"
    P2 = "p2"
    P3 = "p3"

    def allows(self, asked: PriorityClass) -> bool:
        """Say whether a key whose highest class is this one may use `asked`."""
        return asked.value >= self.value
