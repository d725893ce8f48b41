"""What a batch's scores make of its dataset: published, held, or neither, and why."""

from __future__ import annotations

from dataclasses import dataclass

from evals.domain.baselines import Origin, Standing, compare
from invocation.domain.batches import Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What an agent's answers are expected to score by its rubric in a mode, and where that comes from."""

    agent: str
    rubric: str
    mode: str
    score: float | None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`publication` is UNDECIDED where nothing can be said: the batch stays completed, and `sentence` says why."""

    publication: Publication
    sentence: str


def decide(mean: float | None, expected: Expectation) -> Decision:
    """Publish what holds against a baseline that was accepted, and hold what does not; without one, or without scores, do neither."""
    if not expected.origin.gates:
        why = f"There is no accepted baseline of {expected.agent} by {expected.rubric} in {expected.mode}."
        return Decision(publication=Publication.UNDECIDED, sentence=why)
    if mean is None:
        return Decision(publication=Publication.UNDECIDED, sentence="No row was scored.")
    holds = compare(mean, expected.score) is Standing.HOLDS
    told = f"Scored {mean:.4f} where {expected.score:.4f} is expected."
    return Decision(publication=Publication.PUBLISHED if holds else Publication.HELD, sentence=told)
