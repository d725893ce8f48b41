"""When a turn is tried again, and what its reader gets when there is no answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agents.domain.errors import (
    AgentError,
    OutputInvalid,
    PrivateDataShown,
    ProviderRateLimited,
    ProviderUnavailable,
    RunError,
    VerifierFailed,
    VerifierStalled,
)
from invocation.domain.endpoints import EscapeHatch
from invocation.domain.turn_errors import LatencyBudget, LatencyBudgetExceeded, TurnCancelled, WorkerLost, escape_after, may_try_again

SECOND, HATCH = timedelta(seconds=1), EscapeHatch(text="Later.", offer="job@1", withdrawn="Not that.")
TERMS: dict[str, Any] = {"tries": 1, "most": 2, "has_spoken": False, "left": SECOND}
AWAY = ProviderUnavailable("away")


@pytest.mark.parametrize(
    ("error", "terms", "may"),
    [
        (AWAY, {}, True),
        (VerifierStalled("slow"), {}, True),
        (OutputInvalid("bad"), {}, False),
        (AgentError("no"), {}, False),
        (AWAY, {"has_spoken": True}, False),
        (AWAY, {"tries": 2}, False),
        (AWAY, {"left": timedelta(milliseconds=199)}, False),
        (AWAY, {"left": timedelta(milliseconds=200)}, True),
        (AWAY, {"left": -SECOND}, False),
        (ProviderRateLimited("full", retry_after=timedelta(milliseconds=800)), {}, True),
        (ProviderRateLimited("full", retry_after=timedelta(milliseconds=801)), {}, False),
    ],
)
def test_a_turn_is_tried_once_more_only_in_silence_and_only_with_time_left(error: RunError, terms: dict[str, Any], *, may: bool) -> None:
    assert may_try_again(error, **{**TERMS, **terms}) is may


@pytest.mark.parametrize("error", [LatencyBudgetExceeded(LatencyBudget.WHOLE, 6_000), WorkerLost("lost"), AWAY, OutputInvalid("bad")])
def test_what_was_not_finished_is_followed_by_words_and_an_offer(error: RunError) -> None:
    assert escape_after(error, HATCH) == {"text": "Later.", "offer": "job@1"}
    assert escape_after(error, None) is None


@pytest.mark.parametrize("error", [PrivateDataShown("a card number"), VerifierFailed("broken"), VerifierStalled("slow")])
def test_what_was_taken_back_is_followed_by_words_and_no_offer(error: RunError) -> None:
    assert escape_after(error, HATCH) == {"text": "Not that.", "offer": None}


@pytest.mark.parametrize("error", [AgentError("I cannot."), TurnCancelled("stopped")])
def test_what_was_said_or_stopped_needs_no_escape(error: RunError) -> None:
    assert escape_after(error, HATCH) is None


@pytest.mark.parametrize(("budget", "said"), [(LatencyBudget.FIRST_DELTA, "No word"), (LatencyBudget.WHOLE, "not finished")])
def test_a_deadline_names_its_budget_and_its_limit(budget: LatencyBudget, said: str) -> None:
    error = LatencyBudgetExceeded(budget, 1_400)

    assert error.facts == {"budget": str(budget), "limit_ms": 1_400}
    assert said in error.sentence
    assert "1.4 s" in error.sentence
