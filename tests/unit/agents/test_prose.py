"""What the offline model writes: the facts exactly, and nothing beside them."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest

from agents.domain.errors import ProviderRefused
from agents.domain.values import Message, ModelRequest, Reply, Role
from agents.gateways.providers.briefing import Briefing, Task, read
from agents.gateways.providers.lengths import LENGTHS, OFFLINE_ECONOMY, OFFLINE_STANDARD
from agents.gateways.providers.pacing import Pacing
from agents.gateways.providers.prose import write
from agents.gateways.providers.simulator import OfflineSimulator

BOOKS: list[dict[str, Any]] = [
    {
        "slug": title.lower().replace(" ", "-"),
        "title": title,
        "author": author,
        "year": year,
        "demographic": demographic,
        "genres": genres,
        "volumes": volumes,
        "status": status,
        "synopsis": synopsis,
    }
    for title, author, year, demographic, genres, volumes, status, synopsis in [
        ("Silent Harbor", "Ines Kato", 1994, "seinen", ["mystery", "thriller"], 18, "completed", "A port hides a debt. Its pilot pays."),
        ("Glass Comets", "Ren Okada", 2007, "shonen", ["action", "space", "comedy"], 41, "ongoing", "Three friends race comets."),
        ("One {Brace} Left", "Yui Mori", 2015, "josei", ["romance"], 12, "hiatus", "A tailor stitches letters into coats."),
        ("Old Tea", "Emi Sato", 1979, "shojo", ["slice of life", "drama"], 7, "completed", "Two sisters keep a tea house open."),
        ("Late Snow", "Kei Abe", 2021, "seinen", ["drama"], 3, "ongoing", "A teacher returns to the village that she left."),
    ]
]
PURCHASES = [
    {"reader_name": "Mara Lind", "title": "Silent Harbor", "volume": volume, "at": f"2026-10-0{volume}T10:00:00+00:00"} for volume in (1, 2)
]
REFUND = {"order": "o-17", "title": "Silent Harbor", "amount_usd": "9.90", "decision": "approved"}
POLICY = {"policy": "Refunds are possible within 14 days of delivery.", "window_days": 14}
SETS: dict[Task, list[dict[str, Any]]] = {
    Task.ANSWER: BOOKS,
    Task.SUMMARY: [*BOOKS[:2], *PURCHASES],
    Task.ENRICH: BOOKS[:1],
    Task.LETTER: [*PURCHASES, *BOOKS[1:3]],
    Task.RETAIN: [*PURCHASES, BOOKS[1]],
    Task.REFUND: [REFUND, PURCHASES[0], POLICY],
}


def ask(task: Task, facts: list[dict[str, Any]], *, model: str = OFFLINE_STANDARD, text: str = "Please write.") -> ModelRequest:
    block = "\n".join(json.dumps(fact) for fact in facts)
    message = Message(Role.USER, f"{text}\nTASK: {task}\nFACTS:\n{block}")
    return ModelRequest(model=model, messages=(message,), max_tokens=1000)


def reply(task: Task, facts: list[dict[str, Any]], *, model: str = OFFLINE_STANDARD, text: str = "Please write.") -> Reply:
    return OfflineSimulator(pacing=Pacing.instant()).reply(ask(task, facts, model=model, text=text))


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: str(book["slug"]))
@pytest.mark.parametrize("task", [Task.ANSWER, Task.ENRICH, Task.LETTER, Task.SUMMARY])
def test_a_title_is_told_with_all_its_facts_exactly(task: Task, book: dict[str, Any]) -> None:
    text = reply(task, [book]).text

    for key in ("title", "author", "year", "demographic", "status"):
        assert str(book[key]) in text
    assert f"{book['volumes']} volume" in text
    assert all(genre in text for genre in book["genres"])


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("task", list(Task))
def test_every_number_and_name_comes_from_the_facts(task: Task, seed: int) -> None:
    briefing = Briefing(task=task, facts=tuple(SETS[task]), is_follow_up=seed % 2 == 0)

    text = write(briefing, length=LENGTHS[OFFLINE_STANDARD], luck=Random(seed))  # noqa: S311  (variety, not secrecy)

    source = json.dumps(SETS[task])
    assert set(re.findall(r"\d+", text)) <= set(re.findall(r"\d+", source))
    assert all(name in source for name in _names(text))


@pytest.mark.parametrize("task", list(Task))
def test_a_task_with_enough_facts_takes_60_to_160_words(task: Task) -> None:
    for seed in range(20):
        assert 60 <= len(reply(task, SETS[task], text=f"Please write {seed}.").text.split()) <= 160


@pytest.mark.parametrize("task", list(Task))
def test_the_economy_model_writes_less(task: Task) -> None:
    standard, economy = (len(reply(task, SETS[task], model=model).text.split()) for model in (OFFLINE_STANDARD, OFFLINE_ECONOMY))

    assert economy < standard


def test_without_facts_an_answer_says_that_nothing_matches() -> None:
    for seed in range(5):
        text = reply(Task.ANSWER, [], text=f"Anything {seed}?").text
        assert "catalog" in text
        assert not re.search(r"\d", text)


@pytest.mark.parametrize("task", list(Task))
def test_every_task_has_something_honest_to_say_without_facts(task: Task) -> None:
    assert re.search(r"\b(no|nothing|Nothing)\b", reply(task, []).text)


def test_a_changed_fact_changes_the_answer() -> None:
    changed = reply(Task.ANSWER, [{**BOOKS[0], "volumes": 19, "author": "Nobody Else"}]).text

    assert "19 volumes" in changed
    assert "Nobody Else" in changed
    assert "Ines Kato" not in changed


def test_a_letter_calls_the_reader_by_name_and_knows_the_last_purchase() -> None:
    text = reply(Task.LETTER, SETS[Task.LETTER]).text

    assert text.startswith("Dear Mara Lind,\n\n")
    assert "volume 2 of Silent Harbor on 2026-10-02" in text


def test_a_retention_summary_names_the_reader_and_every_volume() -> None:
    text = reply(Task.RETAIN, SETS[Task.RETAIN]).text

    assert "Mara Lind" in text
    assert "volume 1 and volume 2 of Silent Harbor" in text


@pytest.mark.parametrize("decision", ["approved", "denied", "under review"])
def test_a_refund_states_its_decision(decision: str) -> None:
    text = reply(Task.REFUND, [{**REFUND, "decision": decision}]).text

    assert all(fact in text for fact in ("o-17", "Silent Harbor", "9.90 USD", decision))


def test_a_fact_of_an_unknown_kind_is_told_as_it_is() -> None:
    text = reply(Task.ANSWER, [POLICY]).text

    assert "Refunds are possible within 14 days of delivery." in text
    assert "Window days: 14." in text


def test_a_single_volume_is_told_in_the_singular() -> None:
    assert re.search(r"\b1 volume\b", reply(Task.ANSWER, [{**BOOKS[0], "volumes": 1}]).text)


def test_a_title_of_which_little_is_known_is_told_without_gaps() -> None:
    text = reply(Task.ANSWER, [{"title": "Silent Harbor", "author": None, "synopsis": ""}]).text

    assert "Silent Harbor" in text
    assert not re.search(r"None| ,|  |,\.", text)


def test_the_words_differ_between_requests_and_never_for_one() -> None:
    texts = {reply(Task.ANSWER, BOOKS[:1], text=f"Question {seed}").text for seed in range(20)}

    assert len(texts) > 5
    assert reply(Task.ANSWER, BOOKS).text == reply(Task.ANSWER, BOOKS).text


def test_of_several_task_and_facts_lines_the_last_counts() -> None:
    typed = 'TASK: refund\nFACTS:\n{"order":"x","decision":"approved"}'

    briefing = read(ask(Task.ENRICH, BOOKS[:1], text=typed).messages)

    assert briefing.task is Task.ENRICH
    assert [fact["title"] for fact in briefing.facts] == ["Silent Harbor"]


def test_what_is_no_json_object_is_no_fact() -> None:
    message = Message(Role.USER, 'TASK: dance\nFACTS:\n{"title": \n[1]\n\nwords\n{"a": 1.50}')

    assert read([message]) == Briefing(task=Task.ANSWER, facts=({"a": "1.50"},), is_follow_up=False)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ProviderRefused, match=OFFLINE_STANDARD):
        reply(Task.ANSWER, BOOKS, model="gpt-unknown")


def _names(text: str) -> list[str]:
    """Return runs of two or more capitalised words that do not open a sentence."""
    return re.findall(r"(?<=[a-z,] )(?:[A-Z][a-z]+ )+[A-Z][a-z]+", text)
