"""The judge measures: real answers of MangaAssist, told honestly and corrupted, go through the outbox to their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from statistics import mean
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents.harness import Harness, Rehearsal
from agents.mangaassist.agent import MangaAssist
from agents.models import Title
from evals.models import Score, Unscored
from evals.services import scoring
from tests.integration.agents.conftest import OnLoop
from tests.integration.evals.conftest import NOW, finish
from tests.unit.agents import corruptions

ASKED: tuple[dict[str, str], ...] = (
    {"text": "Who wrote Monster?"},
    {"text": "a finished josei romance"},
    {"text": "Which horror seinen can you recommend?"},
    {"text": "something like Pluto"},
    {"text": "a long shonen about sports"},
    {"text": "Do you have a mystery that is finished?"},
    {"title": "monster"},
    {"title": "pluto"},
    {"title": "asadora"},
    {"title": "billy-bat"},
    {"reader": "r-001"},
    {"reader": "r-002"},
    {"reader": "r-003"},
    {"reader": "r-004", "text": "monthly summary"},
)
MARGIN = 0.3
CLEARLY = 0.2
Told = list[tuple[Mapping[str, str], Rehearsal]]


@pytest.fixture
def honest(shop: None, on_loop: OnLoop[Any]) -> Told:
    return [(given, on_loop(Harness(MangaAssist).run(given))) for given in ASKED]


def authors_of(run: Rehearsal) -> list[dict[str, Any]]:
    return [dict(title) for title in run.plan.facts["titles"]]


def of_another(told: Told, place: int, luck: Random) -> str:
    """Answer with what was said to a question of another kind."""
    return told[(place + 5) % len(told)][1].text


def with_wrong_numbers_and_authors(told: Told, place: int, luck: Random) -> str:
    run = told[place][1]
    others: list[dict[str, Any]] = [{"author": author} for author in Title.objects.values_list("author", flat=True)]
    return corruptions.wrong_authors(corruptions.wrong_numbers(run.text, luck), authors_of(run), others, luck)


def with_invented_titles(told: Told, place: int, luck: Random) -> str:
    run = told[place][1]
    return corruptions.invented_titles(run.text, authors_of(run), luck)


def out_of_nowhere(told: Told, place: int, luck: Random) -> str:
    return "You will love The Glass Orchard by Ivo Brandt from 1931. It won nine prizes and fills 212 volumes. Order it by phone."


def score(given: Mapping[str, str], run: Rehearsal, text: str) -> float:
    """Send an answer through the outbox and return its score."""
    run_id: UUID = uuid4()
    output = {**run.output, "text": text}
    told = {"agent": "mangaassist@1", "mode": "scheduled-trigger", "input": dict(given), "facts": dict(run.plan.facts), "output": output}
    finish(told, run_id=run_id, tenant_id=None)
    scoring.consume(now=NOW)
    assert not Unscored.objects.exists()
    return Score.objects.get(run_id=run_id).total


@pytest.mark.parametrize("corrupt", [of_another, with_wrong_numbers_and_authors, with_invented_titles, out_of_nowhere])
def test_a_corrupted_answer_scores_clearly_lower(honest: Told, corrupt: Callable[[Told, int, Random], str]) -> None:
    luck = Random(17)  # noqa: S311  (seeded variety)
    falls = {
        str(given): score(given, run, run.text) - score(given, run, corrupt(honest, place, luck))
        for place, (given, run) in enumerate(honest)
    }
    assert mean(falls.values()) >= MARGIN
    assert min(falls.values()) >= CLEARLY, min(falls.items(), key=lambda each: each[1])


def test_honest_answers_score_well_in_every_task(honest: Told) -> None:
    scores = {str(given): score(given, run, run.text) for given, run in honest}
    assert mean(scores.values()) >= 0.75
    assert min(scores.values()) >= 0.6, min(scores.items(), key=lambda each: each[1])
