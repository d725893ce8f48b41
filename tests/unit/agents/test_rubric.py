"""What MangaAssist's rubric gives to honest answers, and takes from corrupted ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from statistics import mean
from typing import Any

import pytest

from agents.domain.contract import Evidence
from agents.harness import Harness, Rehearsal
from agents.mangaassist.agent import MangaAssist
from agents.mangaassist.rubric import ANSWER_RUBRIC
from tests.unit.agents import corruptions
from tests.unit.agents.shelf import ROWS, Row, skills_over

CASES = 80
Case = tuple[dict[str, str], list[Row], list[Row]]
MARGIN = 0.3


def score(given: Mapping[str, Any], facts: Mapping[str, Any], text: str) -> float:
    evidence = Evidence(input=given, facts=facts, output={"text": text})
    return sum(criterion.weight * criterion.measure(evidence) for criterion in ANSWER_RUBRIC.criteria)


def request(row: Row, case: int) -> dict[str, str]:
    return {"title": row["slug"]} if case % 4 == 0 else {"text": f"Which {row['genres'][0]} {row['demographic']} can you recommend?"}


async def rehearse(given: dict[str, str], rows: list[Row]) -> Rehearsal:
    return await Harness(MangaAssist, skills=skills_over(*rows)).run(given)


def test_the_weights_sum_to_one() -> None:
    assert sum(criterion.weight for criterion in ANSWER_RUBRIC.criteria) == pytest.approx(1)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Requests with the titles found for each, and as many others of the catalog."""
    luck = Random(11)  # noqa: S311  (seeded variety)
    shuffled = [luck.sample(ROWS, 12) for _ in range(CASES)]
    counts = [(1, 1, 3, 5)[case % 4] for case in range(CASES)]
    return [(request(rows[0], case), rows[:count], rows[-count:]) for case, (rows, count) in enumerate(zip(shuffled, counts, strict=True))]


async def test_an_honest_answer_scores_well(cases: list[Case]) -> None:
    scores = [score(given, (honest := await rehearse(given, rows)).plan.facts, honest.text) for given, rows, _ in cases]

    assert min(scores) > 0.7
    assert 0.75 <= mean(scores) <= 0.95


Spoil = Callable[[str, list[Row], str, Random], str]
SPOILT: Mapping[str, Spoil] = {
    "numbers": lambda text, _rows, _other, luck: corruptions.wrong_numbers(text, luck),
    "authors": lambda text, rows, _other, luck: corruptions.wrong_authors(text, rows, ROWS, luck),
    "titles": lambda text, rows, _other, luck: corruptions.invented_titles(text, rows, luck),
    "sentences": lambda text, _rows, other, _luck: corruptions.swapped_sentences(text, other),
}


@pytest.mark.parametrize("kind", list(SPOILT))
async def test_a_corrupted_answer_scores_at_least_the_margin_lower(kind: str, cases: list[Case]) -> None:
    luck = Random(13)  # noqa: S311
    falls = []
    for given, rows, others in cases:
        honest = await rehearse(given, rows)
        about_others = await rehearse(request(others[0], 0 if "title" in given else 1), others)
        spoilt = SPOILT[kind](honest.text, rows, about_others.text, luck)
        falls.append(score(given, honest.plan.facts, honest.text) - score(given, honest.plan.facts, spoilt))

    assert min(falls) >= MARGIN


async def test_an_honest_admission_scores_well_and_an_invented_title_instead_does_not() -> None:
    given = {"text": "An opera about lighthouse keepers"}
    nothing = await Harness(MangaAssist, skills=skills_over()).run(given)
    invented = "I recommend Salt Lantern by Hiroko Amano from 1988, in 7 volumes, finished. Salt Lantern is about keepers of a lighthouse."

    assert score(given, nothing.plan.facts, nothing.text) > 0.75
    assert score(given, nothing.plan.facts, invented) < 0.5


def test_private_data_costs_its_criterion() -> None:
    safe = next(criterion for criterion in ANSWER_RUBRIC.criteria if criterion.name == "safe")

    assert safe.measure(Evidence(input={}, facts={}, output={"text": "Write to a@example.org."})) == 0
    assert safe.measure(Evidence(input={}, facts={}, output={"text": "Write to us."})) == 1


def test_an_empty_answer_scores_next_to_nothing() -> None:
    assert score({"title": "x"}, {"titles": [ROWS[0]]}, "") <= 0.2
