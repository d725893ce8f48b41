"""What MangaAssist understands of a request."""

from __future__ import annotations

from typing import Any

import pytest

from agents.domain.values import Exchange, Request
from agents.mangaassist import intent
from agents.mangaassist.intent import Task


def understood(*earlier: str, **given: Any) -> intent.Intent:
    history = tuple(Exchange(asked=asked, answered="An answer.") for asked in earlier)
    return intent.read(Request(input=given, history=history))


@pytest.mark.parametrize(
    ("given", "task"),
    [
        ({"text": "Who wrote Monster?"}, Task.ANSWER),
        ({"text": "Who wrote it?", "title": "monster"}, Task.ANSWER),
        ({"text": "Something for me?", "reader": "r-001"}, Task.ANSWER),
        ({"title": "monster"}, Task.ENRICH),
        ({"reader": "r-001"}, Task.LETTER),
        ({"reader": "r-001", "title": "monster"}, Task.LETTER),
        ({"reader": "r-001", "text": "Write the newsletter."}, Task.LETTER),
        ({"reader": "r-001", "text": "The retention note, please."}, Task.RETAIN),
        ({"reader": "r-001", "text": "monthly summary"}, Task.RETAIN),
        ({"order": "o-10001"}, Task.REFUND),
        ({"text": "I want my money back"}, Task.REFUND),
        ({"text": "Can I get a refund?", "reader": "r-001"}, Task.REFUND),
        ({}, Task.ANSWER),
    ],
)
def test_the_input_alone_decides_the_task(given: dict[str, str], task: Task) -> None:
    assert understood(**given).task is task


def test_words_of_asking_are_not_searched_for() -> None:
    assert understood(text="Can you recommend a manga about a volleyball team?").words == "volleyball team"


def test_filters_are_read_out_of_the_words_and_not_searched_for() -> None:
    wish = understood(text="a short finished horror seinen about islands before 2000")

    assert wish.words == "islands"
    assert wish.arguments() == {
        "text": "islands",
        "demographic": "seinen",
        "genres": ["horror"],
        "status": "finished",
        "year_to": 1999,
        "volumes_to": 10,
    }


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("before 2000", (None, 1999)),
        ("since 2015", (2015, None)),
        ("after 2015", (2016, None)),
        ("in 1994", (1994, 1994)),
        ("from the 1990s", (1990, 1999)),
        ("since 1990 but before 2000", (1990, 1999)),
        ("between 1980 and 1985", (1980, 1985)),
        ("before 1980, no, since 2010", (2010, None)),
        ("20th century boys", (None, None)),
    ],
)
def test_years_are_read_as_they_are_said(text: str, years: tuple[int | None, int | None]) -> None:
    filters = understood(text=text).filters

    assert (filters.year_from, filters.year_to) == years


def test_a_follow_up_goes_on_from_the_questions_before_it() -> None:
    wish = understood("A josei romance about cooks", "and one that is finished?", text="and something shorter?")

    assert wish.words == "cooks"
    assert wish.arguments() == {"text": "cooks", "demographic": "josei", "genres": ["romance"], "status": "finished", "volumes_to": 10}


def test_a_question_of_its_own_forgets_the_one_before() -> None:
    assert understood("A josei romance", text="Horror in space").arguments() == {"text": "space", "genres": ["horror"]}


def test_a_follow_up_may_take_a_filter_back() -> None:
    assert understood("finished seinen thrillers", text="and ongoing shojo ones?").arguments() == {
        "text": "",
        "demographic": "shojo",
        "genres": ["thriller"],
        "status": "ongoing",
    }


@pytest.mark.parametrize("text", ["I want a refund", "Please change my address", "delete my account"])
def test_money_and_account_matters_are_delicate(text: str) -> None:
    assert understood(text=text).is_delicate


def test_a_recommendation_is_not_delicate() -> None:
    assert not understood(text="a sports manga, please").is_delicate


@pytest.mark.parametrize("text", ["Hello!", "   ", "thanks", "\0"])
def test_small_talk_looks_for_nothing(text: str) -> None:
    assert not understood(text=text).looks_for_something
