"""What people may do to a batch, and when it can be done."""

from __future__ import annotations

from enum import StrEnum

from invocation.domain.batches import BATCH_EDGES, BatchMove, BatchState, Pause
from invocation.domain.gathering import DATASET_UNWRITTEN

MOST_REASON = 400


class Act(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    RETRY_FAILED = "retry-failed"
    CANCEL = "cancel"


def asked(*, by: str, reason: str) -> str:
    """Return who let a batch wait and why, as it is kept with the pause."""
    why = reason.strip()[:MOST_REASON]
    return f"Paused by {by}{f': {why}' if why else '.'}"


def possible(state: str, *, pause: str, fault: str, failed: int) -> list[Act]:
    """Return the acts that a batch takes in this state, paused with this code or with none, failed with this code or with none.

    One that waits for its window goes on by itself, and cannot be resumed. One that failed can be, if only its dataset is not written.
    """
    waits, is_unwritten = pause == Pause.WINDOW, state == BatchState.FAILED and fault == DATASET_UNWRITTEN
    when = {
        Act.PAUSE: state in BATCH_EDGES[BatchMove.PAUSE].sources or waits,
        Act.RESUME: (state == BatchState.PAUSED and not waits) or is_unwritten,
        Act.RETRY_FAILED: state in BATCH_EDGES[BatchMove.RETRY].sources and failed > 0,
        Act.CANCEL: state in BATCH_EDGES[BatchMove.CANCEL].sources,
    }
    return [act for act in Act if when[act]]
