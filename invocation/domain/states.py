"""What every table of states is made of: named moves, and the arrows that they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Edge(Generic[S]):
    """From which states a move may be made, and where it leads."""

    sources: frozenset[S]
    target: S
