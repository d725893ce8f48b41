"""CSV that a spreadsheet shows and does not run."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quota.domain.tables import FORMULA, cell, lines


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "|calc", "%0A"])
def test_a_text_that_would_be_run_is_shown_as_text(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_numbers_stay_numbers_and_nothing_stays_empty() -> None:
    assert [cell(value) for value in (-1, Decimal("-0.5"), 2.5, None, "")] == ["-1", "-0.5", "2.5", "", ""]


@given(st.lists(st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"])), min_size=1))
def test_every_text_is_read_back_and_none_begins_like_a_formula(row: list[str]) -> None:
    (read,) = csv.reader(io.StringIO(lines([row]), newline=""))

    assert [each.removeprefix("'") for each in read] == [each.removeprefix("'") for each in row]
    assert not any(each.startswith(FORMULA) for each in read)
