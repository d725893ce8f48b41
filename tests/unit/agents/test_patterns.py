"""The supervisor and the broker, with other endpoints played by the test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agents.domain.errors import ChildFailed
from agents.domain.steps import StepKey
from agents.domain.values import Json, Verification
from agents.harness import Harness
from agents.mangaassist.errors import UnknownTitle
from agents.patterns.broker import Broker
from agents.patterns.errors import NothingFoundOut, NothingToCompare, NothingToRoute
from agents.patterns.supervisor import Supervisor
from tests.unit.agents.shelf import BY_SLUG, skills_over

SHELF = [BY_SLUG["monster"], BY_SLUG["pluto"]]
BOTH = {"titles": ["monster", "pluto"]}


async def researched(value: Mapping[str, Json]) -> Mapping[str, Json]:
    title = BY_SLUG[value["title"]]["title"]
    return {"text": f"{title} is a long story about a doctor. It never lets go. A third sentence.", "titles": [value["title"]]}


async def half_researched(value: Mapping[str, Json]) -> Mapping[str, Json]:
    if value["title"] == "pluto":
        raise UnknownTitle("Gone.")
    return await researched(value)


def supervisor(research: Any = researched) -> Harness:
    return Harness(Supervisor, skills=skills_over(*SHELF), children={"personalize@1": research})


async def test_each_title_is_a_child_and_the_comparison_tells_what_they_found() -> None:
    rehearsal = await supervisor().run(BOTH)

    assert [key.name for key in rehearsal.steps] == ["read_title", "read_title", "spawn:personalize@1", "join", "model"]
    assert rehearsal.output["titles"] == ["monster", "pluto"]
    assert [child["state"] for child in rehearsal.output["children"]] == ["completed"] * 2
    assert "Monster is a long story about a doctor." in rehearsal.text
    assert "Pluto is a long story about a doctor." in rehearsal.text
    assert "third" not in rehearsal.text


async def test_a_child_that_failed_leaves_a_gap_that_is_said() -> None:
    rehearsal = await supervisor(half_researched).run(BOTH)

    assert [child["state"] for child in rehearsal.output["children"]] == ["completed", "failed"]
    assert "Nothing could be found out about Pluto." in rehearsal.text


async def test_without_any_finding_there_is_no_comparison() -> None:
    async def fails(_: Mapping[str, Json]) -> Mapping[str, Json]:
        raise UnknownTitle("Gone.")

    with pytest.raises(NothingFoundOut, match="Gone"):
        await supervisor(fails).run(BOTH)


@pytest.mark.parametrize("given", [{"titles": ["monster", "monster"]}, {"text": "the the the"}])
async def test_fewer_than_two_titles_cannot_be_compared(given: Mapping[str, Json]) -> None:
    with pytest.raises(NothingToCompare):
        await supervisor().run(given)


async def test_titles_may_be_found_by_what_is_asked() -> None:
    rehearsal = await supervisor().run({"text": "Compare your thrillers"})

    assert rehearsal.output["titles"] == ["monster", "pluto"]


ANSWERED = {"text": "An answer.", "titles": ["monster"]}


def broker(*endpoints: str) -> Harness:
    async def answers(value: Mapping[str, Json]) -> Mapping[str, Json]:
        return ANSWERED

    return Harness(Broker, children=dict.fromkeys(endpoints, answers))


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({"order": "o-10001"}, "refund@1"),
        ({"text": "Refund this.", "order": "o-10001"}, "refund@1"),
        ({"text": "How does a refund work?"}, "personalize@1"),
        ({"text": "Compare Monster and Pluto"}, "compare@1"),
        ({"text": "Monster vs. Pluto?"}, "compare@1"),
        ({"text": "What is new?"}, "personalize@1"),
        ({"title": "monster"}, "personalize@1"),
        ({"reader": "r-001"}, "personalize@1"),
    ],
)
async def test_a_request_goes_to_the_endpoint_that_is_made_for_it(given: Mapping[str, Json], endpoint: str) -> None:
    rehearsal = await broker(endpoint).run(given)

    assert StepKey(f"spawn:{endpoint}", 1) in rehearsal.steps
    assert rehearsal.output == {"text": "An answer.", "endpoint": endpoint, "titles": ["monster"]}
    assert (rehearsal.verification is Verification.BUFFER) == (endpoint == "refund@1")


async def test_the_broker_fails_with_what_the_endpoint_failed_with() -> None:
    async def fails(_: Mapping[str, Json]) -> Mapping[str, Json]:
        raise UnknownTitle("There is no such title.")

    with pytest.raises(ChildFailed, match="no such title"):
        await Harness(Broker, children={"personalize@1": fails}).run({"title": "nothing"})


async def test_an_empty_request_goes_nowhere() -> None:
    with pytest.raises(NothingToRoute):
        await broker().run({})
