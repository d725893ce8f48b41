"""What a run's attempt came to: the word that its record keeps."""

from __future__ import annotations

from enum import StrEnum

from agents.domain.errors import AgentError, RunError


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
