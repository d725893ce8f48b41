"""Judging one answer by its agent's rubric: the same sum in every mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.domain.contract import Criterion, Evidence, Rubric
from evals.domain.errors import Unjudgeable


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a rubric says of one answer. All figures are 0 to 1; `total` is the criteria's weighted mean."""

    total: float
    by_criterion: Mapping[str, float]


def judge(rubric: Rubric, evidence: Evidence) -> Verdict:
    """Measure every criterion and weigh them. Pure. Raises Unjudgeable, and what a criterion's own code raises."""
    weight = sum(criterion.weight for criterion in rubric.criteria)
    if weight <= 0:
        raise Unjudgeable(f"The rubric {rubric.name} v{rubric.version} has no weight.")
    measured = {criterion.name: _measure(criterion, evidence) for criterion in rubric.criteria}
    total = sum(criterion.weight * measured[criterion.name] for criterion in rubric.criteria) / weight
    return Verdict(total=min(1.0, total), by_criterion=measured)


def _measure(criterion: Criterion, evidence: Evidence) -> float:
    found = float(criterion.measure(evidence))
    if not 0 <= found <= 1:
        raise Unjudgeable(f"The criterion {criterion.name} measured {found}, which is not between 0 and 1.")
    return found
