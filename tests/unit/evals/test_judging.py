from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.domain.contract import Criterion, Evidence, Rubric
from evals.domain.errors import Unjudgeable
from evals.domain.judging import judge

NOTHING = Evidence(input={}, facts={}, output={})


def rubric(*measures: tuple[float, Callable[[Evidence], float]]) -> Rubric:
    criteria = tuple(
        Criterion(name=f"c{place}", question="Is it?", weight=weight, measure=measure) for place, (weight, measure) in enumerate(measures)
    )
    return Rubric(name="trial", version=1, criteria=criteria)


def says(figure: float) -> Callable[[Evidence], float]:
    return lambda _evidence: figure


def test_the_total_is_the_weighted_mean_of_the_criteria() -> None:
    verdict = judge(rubric((3.0, says(1.0)), (1.0, says(0.2))), NOTHING)
    assert verdict.total == pytest.approx(0.8)
    assert verdict.by_criterion == {"c0": 1.0, "c1": 0.2}


def test_a_criterion_without_weight_is_measured_and_does_not_count() -> None:
    verdict = judge(rubric((1.0, says(0.5)), (0.0, says(0.0))), NOTHING)
    assert verdict.total == 0.5
    assert verdict.by_criterion["c1"] == 0.0


@given(st.lists(st.tuples(st.floats(0.001, 1_000), st.floats(0, 1)), min_size=1, max_size=8))
def test_a_total_lies_between_its_worst_and_its_best_criterion(figures: list[tuple[float, float]]) -> None:
    total = judge(rubric(*((weight, says(figure)) for weight, figure in figures)), NOTHING).total
    found = [figure for _, figure in figures]
    assert min(found) - 1e-9 <= total <= max(found) + 1e-9
    assert 0 <= total <= 1


@pytest.mark.parametrize("figure", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_measure_outside_of_zero_to_one_is_refused_by_the_criterions_name(figure: float) -> None:
    with pytest.raises(Unjudgeable, match="c1"):
        judge(rubric((1.0, says(0.5)), (1.0, says(figure))), NOTHING)


def test_a_rubric_without_weight_is_refused() -> None:
    with pytest.raises(Unjudgeable, match="no weight"):
        judge(rubric(), NOTHING)


def test_the_evidence_reaches_every_criterion() -> None:
    verdict = judge(rubric((1.0, lambda evidence: float(evidence.output["figure"]))), Evidence(input={}, facts={}, output={"figure": 0.25}))
    assert verdict.total == 0.25
