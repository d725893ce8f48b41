"""What is expected of an agent in a mode, where the expectation comes from, and how a mean stands to it."""

from __future__ import annotations

from enum import StrEnum


class Origin(StrEnum):
    """Where an expected score comes from. Only one that was proposed from real runs and accepted may gate or alert."""

    UNSET = "unset"
    IMPORTED = "imported"
    PROPOSED = "proposed"
    ACCEPTED = "accepted"

    @property
    def gates(self) -> bool:
        return self is Origin.ACCEPTED


class Standing(StrEnum):
    """How the scores of a mode stand to its baseline."""

    HOLDS = "holds"
    BELOW = "below"
    UNSET = "unset"
    """There is no expected score."""
    UNMEASURED = "unmeasured"
    """There is one, and no run was scored yet."""


def compare(mean: float | None, expected: float | None) -> Standing:
    """Compare a mean score with what is expected; either may be missing."""
    if expected is None:
        return Standing.UNSET
    if mean is None:
        return Standing.UNMEASURED
    return Standing.HOLDS if mean >= expected else Standing.BELOW
