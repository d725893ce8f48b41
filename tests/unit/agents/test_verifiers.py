"""What no_private_data objects to, and what it lets pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.domain.values import Plan
from agents.mangaassist.verifiers import no_private_data
from tests.unit.agents.shelf import ROWS

PLAN = Plan(summary="", facts={"reader": "r-001"})
PRIVATE = [
    "Write to aiko.tanaka@example.org today.",
    "Her card is 4111 1111 1111 1111.",
    "Her card is 4111-1111-1111-1111, still valid.",
    "Call +81 90-1234-5678 now.",
    "Call (030) 1234 567.",
    "Call 0171 2345678.",
    "The reader r-002 bought it too.",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_private_data_is_found_and_not_repeated_in_the_finding(text: str) -> None:
    finding = no_private_data(text, PLAN)

    assert finding is not None
    assert finding.verifier == "no_private_data"
    assert not any(char.isdigit() or char == "@" for char in finding.sentence)


@pytest.mark.parametrize("text", PRIVATE)
def test_what_was_found_stays_found_as_the_text_grows(text: str) -> None:
    assert no_private_data(f"{text} And more follows here.", PLAN)


@pytest.mark.parametrize(
    "text",
    [
        "Reader r-001, order o-10001 over 9.99 USD of 2026-08-14 is approved.",
        "Monster from 1994, in 18 volumes. Volumes 1, 2, 3, 4, 5, 6, 7, 8, 9 and 10 are in stock.",
        "Its number is 978-4-09-183801-0.",
        "The card 4111 1111 1111 1112 has a wrong sum.",
        "It runs from 1997 to 2003 and from 2005 to 2008.",
        "Meet us @ the shop.",
    ],
)
def test_public_text_passes(text: str) -> None:
    assert no_private_data(text, PLAN) is None


def test_no_beginning_of_a_catalog_text_is_objected_to() -> None:
    objections = [
        row["slug"]
        for row in ROWS
        for end in range(0, len(row["synopsis"]) + 1, 7)
        if no_private_data(f"{row['title']} ({row['year']}), {row['volumes']} volumes. {row['synopsis']}"[:end], PLAN)
    ]

    assert objections == []


@given(st.integers(min_value=10**11, max_value=10**18 - 1).map(str))
def test_of_long_numbers_exactly_those_with_luhns_sum_are_cards(body: str) -> None:
    sums = [bool(no_private_data(f"It is {body}{digit}.", PLAN)) for digit in range(10)]

    assert sum(sums) == (0 if len(body) == 12 and body[:3] in {"978", "979"} else 1)
