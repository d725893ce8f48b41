"""The states of a firing, and what a schedule does about moments that it missed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from invocation.domain.states import Edge


class FiringState(StrEnum):
    FIRED = "fired"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FiringMove(StrEnum):
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


FIRING_EDGES: Mapping[FiringMove, Edge[FiringState]] = MappingProxyType(
    {
        FiringMove.COMPLETE: Edge(frozenset({FiringState.FIRED}), FiringState.COMPLETED),
        FiringMove.FAIL: Edge(frozenset({FiringState.FIRED}), FiringState.FAILED),
        FiringMove.CANCEL: Edge(frozenset({FiringState.FIRED}), FiringState.CANCELLED),
    }
)
