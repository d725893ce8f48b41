"""What ends a turn beside its agent's own errors: its time, a person, a lost worker; and what its reader gets instead."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from agents.domain.errors import AgentError, AnswerWithdrawn, PlatformError, RunError
from agents.domain.values import Json
from invocation.domain.endpoints import EscapeHatch


class LatencyBudget(StrEnum):
    """Which of a turn's promises of time: its first words, or its end. Both count from the receipt of the question."""

    FIRST_DELTA = "first_delta"
    WHOLE = "whole"


SAID_TOO_LATE = {
    LatencyBudget.FIRST_DELTA: "No word of the answer came within {s:g} s.",
    LatencyBudget.WHOLE: "The answer was not finished within {s:g} s.",
}


class LatencyBudgetExceeded(PlatformError):
    """A deadline of the turn passed. What was shown stays, marked truncated."""

    code = "latency_budget_exceeded"
    remedy = "Ask something shorter, or continue as the job that is offered."

    def __init__(self, budget: LatencyBudget, ms: int) -> None:
        super().__init__(SAID_TOO_LATE[budget].format(s=ms / 1000))
        self.facts: dict[str, Json] = {"budget": str(budget), "limit_ms": ms}


class TurnCancelled(PlatformError):
    """The person stopped the turn. What was shown stays, marked truncated."""

    code = "cancelled"
    remedy = "Ask again."


class WorkerLost(PlatformError):
    """The worker vanished after it had shown a part of the answer: no second voice goes on with it."""

    code = "worker_lost"
    remedy = "Ask again."


WORTH_A_TRY = timedelta(milliseconds=200)
"""A try with less time left than a model takes to its first token would be paid for nothing."""


def may_try_again(error: RunError, *, tries: int, most: int, has_spoken: bool, left: timedelta) -> bool:
    """Say whether a turn is tried once more: only in silence, and only while its budget leaves time for an answer."""
    pause = error.retry_after or timedelta()
    return error.retryable and not has_spoken and tries < most and left >= pause + WORTH_A_TRY


def escape_after(error: RunError, hatch: EscapeHatch | None) -> dict[str, Json] | None:
    """Return what a reader gets instead of an answer that ended with this error.

    What was taken back is followed by words, not by an offer: a job would write the same again. An agent
    that declined, and a person who stopped, have said all themselves.
    """
    if hatch is None or isinstance(error, AgentError | TurnCancelled):
        return None
    if isinstance(error, AnswerWithdrawn):
        return {"text": hatch.withdrawn, "offer": None}
    return {"text": hatch.text, "offer": hatch.offer}
