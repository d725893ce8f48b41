"""Searching the real catalog: ranking, filters, and what is tried when nothing matches."""

from __future__ import annotations

from typing import Any

import pytest

from agents import selectors
from agents.domain.catalog import Search
from agents.models import Title
from tests.integration.agents.conftest import OnLoop

pytestmark = pytest.mark.usefixtures("shop")
Searching = Any


@pytest.fixture
def found(on_loop: OnLoop[Any]) -> Searching:
    return lambda **wanted: on_loop(selectors.search(Search(**wanted)))


def slugs(titles: list[dict[str, Any]]) -> list[str]:
    return [title["slug"] for title in titles]


def test_a_title_named_in_full_comes_first(found: Searching) -> None:
    assert slugs(found(text="monster"))[0] == "monster"
    assert slugs(found(text="Is 20th Century Boys any good?"))[0] == "20th-century-boys"


def test_a_word_of_the_author_outranks_a_word_of_a_synopsis(found: Searching) -> None:
    titles = found(text="Urasawa", limit=3)

    assert {title["author"] for title in titles} == {"Naoki Urasawa"}


def test_one_word_of_a_title_outranks_many_of_a_synopsis(found: Searching) -> None:
    Title.objects.filter(slug="akira").update(synopsis="Zeppelin upon zeppelin upon zeppelin: a zeppelin.")
    Title.objects.filter(slug="monster").update(title="The Zeppelin of Monsters")

    assert slugs(found(text="zeppelin")) == ["monster", "akira"]


def test_words_are_found_in_the_synopsis_and_by_their_stem(found: Searching) -> None:
    assert "monster" in slugs(found(text="surgeons killer Germany"))


def test_when_not_all_words_match_one_of_them_is_enough(found: Searching) -> None:
    assert "monster" in slugs(found(text="Tenma zeppelinquartz"))


def test_what_matches_nothing_finds_nothing(found: Searching) -> None:
    assert found(text="zeppelinquartz") == []


def test_every_filter_holds_for_every_title_found(found: Searching) -> None:
    titles = found(
        text="", demographic="seinen", genres=("horror",), status="finished", year_from=1980, year_to=1999, volumes_to=10, limit=50
    )

    assert titles
    assert {title["demographic"] for title in titles} == {"seinen"}
    assert {title["status"] for title in titles} == {"finished"}
    assert all("horror" in title["genres"] for title in titles)
    assert all(1980 <= title["year"] <= 1999 and title["volumes"] <= 10 for title in titles)


def test_a_filter_is_kept_when_fewer_words_match(found: Searching) -> None:
    titles = found(text="Tenma school zeppelinquartz", demographic="shojo", limit=50)

    assert titles
    assert {title["demographic"] for title in titles} == {"shojo"}


def test_the_limit_is_kept(found: Searching) -> None:
    assert len(found(text="", genres=("drama",), limit=7)) == 7


@pytest.mark.parametrize("text", ["'); DROP TABLE agents_title; --", '"unfinished quote', "a & | ! <-> :*", "-monster", "%s %(x)s"])
def test_any_text_can_be_searched_for(found: Searching, text: str) -> None:
    assert isinstance(found(text=text), list)
    assert slugs(found(text="monster"))[0] == "monster"
