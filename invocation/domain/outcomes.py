"""What a run's attempt came to: the word that its record keeps, and the error where that could not be kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from agents.domain.errors import AgentError, PlatformError, RunError


class RunOutcome(StrEnum):
    """`declined`: the agent answered that it cannot. `parked`: it waits for a person. `stopped`: it was handed back unfinished."""

    COMPLETED = "completed"
    DECLINED = "declined"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PARKED = "parked"
    STOPPED = "stopped"


def outcome_of(error: RunError | None) -> RunOutcome:
    """Return how a run ended that was neither parked nor stopped."""
    if error is None:
        return RunOutcome.COMPLETED
    return RunOutcome.DECLINED if isinstance(error, AgentError) else RunOutcome.FAILED


class OutcomeNotKept(PlatformError):
    """The run came to its end and that could not be stored, for a reason that is not the database's absence. A failure like any other."""

    code = "outcome_not_kept"
    is_for_operators = True
    remedy = "Read the traceback in the worker's log: without this failure the job would be given back and run for ever."

    @classmethod
    def of(cls, defect: Exception) -> Self:
        """Return the error that quotes what broke."""
        return cls(f"What came of the run could not be stored: {type(defect).__name__}: {defect}"[:500])


class OutcomeStoreAway(OutcomeNotKept):
    """The object store, where the outcome belongs, did not take it for half a minute. Put off, and charged to nobody."""

    code = "outcome_store_away"
    retryable = True
    is_charged = False
    remedy = "See to the object store. The job runs again by itself, and its journal's steps are not repeated."
