"""The states of a chat turn, and the events of its stream."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from invocation.domain.states import Edge


class TurnState(StrEnum):
    QUEUED = "queued"
    WORKING = "working"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TurnMove(StrEnum):
    """Why a turn changed state."""

    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    RESCUE = "rescue"
    OVERDUE = "overdue"


OPEN = frozenset({TurnState.QUEUED, TurnState.WORKING})
ENDED = frozenset({TurnState.COMPLETED, TurnState.FAILED, TurnState.CANCELLED})

TURN_EDGES: Mapping[TurnMove, Edge[TurnState]] = MappingProxyType(
    {
        TurnMove.CLAIM: Edge(frozenset({TurnState.QUEUED}), TurnState.WORKING),
        TurnMove.COMPLETE: Edge(frozenset({TurnState.WORKING}), TurnState.COMPLETED),
        TurnMove.FAIL: Edge(frozenset({TurnState.WORKING}), TurnState.FAILED),
        TurnMove.CANCEL: Edge(OPEN, TurnState.CANCELLED),
        TurnMove.RESCUE: Edge(frozenset({TurnState.WORKING}), TurnState.QUEUED),
        TurnMove.OVERDUE: Edge(OPEN, TurnState.FAILED),
    }
)


class EventType(StrEnum):
    """The types of event objects on the wire."""

    SESSION_READY = "session.ready"
    TURN_STARTED = "turn.started"
    PLAN_READY = "plan.ready"
    DELTA = "delta"
    HEARTBEAT = "heartbeat"
    RETRACTED = "retracted"
    GAP = "gap"
    PROGRESS = "progress"
    OFFER_ACCEPTED = "offer.accepted"
    TURN_COMPLETED = "turn.completed"
    TURN_FAILED = "turn.failed"
    INPUT_REQUESTED = "input.requested"
    RECONNECT = "reconnect"
    ERROR = "error"


LAST_EVENTS = frozenset({EventType.TURN_COMPLETED, EventType.TURN_FAILED})
SEQS_OF_A_CLAIM = 4096
"""How many seqs a claim sets aside: an attempt that dies cannot have used more, so seq never goes back."""
