"""The text of a CSV cell is what the endpoint's input schema says it may be."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.cells import NotThat, reader

SCHEMA: dict[str, Any] = {
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "price": {"type": "number"},
        "is_new": {"type": "boolean"},
        "tags": {"type": "array"},
        "facts": {"type": "object"},
        "maybe": {"type": ["integer", "null"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "kind": {"enum": [1, 2, 3]},
        "far": {"$ref": "#/$defs/far"},
        "round": {"$ref": "#/properties/round"},
        "any": {},
    },
    "$defs": {"far": {"type": "number"}},
}


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("text", "007", "007"),
        ("unknown", "7", "7"),
        ("any", "7", "7"),
        ("round", "7", "7"),
        ("count", "-42", -42),
        ("price", "4.50", 4.5),
        ("price", "4", 4),
        ("price", "1e3", 1000.0),
        ("is_new", "TRUE", True),
        ("is_new", "false", False),
        ("tags", '["a", 1]', ["a", 1]),
        ("facts", ' {"a": null}', {"a": None}),
        ("maybe", "null", None),
        ("maybe", "3", 3),
        ("either", "3", 3),
        ("either", "three", "three"),
        ("kind", "2", 2),
        ("far", "2.5", 2.5),
    ],
)
def test_a_cell_is_read_by_its_columns_schema(column: str, text: str, value: object) -> None:
    found = reader(SCHEMA, column)(text)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("count", "4.5"),
        ("count", "1_000"),
        ("count", "9" * 40),
        ("price", "nan"),
        ("price", "1e999"),
        ("price", "1_0.5"),
        ("is_new", "yes"),
        ("tags", "a, b"),
        ("tags", "[NaN]"),
        ("tags", "[" * 100_000),
        ("facts", "[]"),
        ("maybe", "none"),
    ],
)
def test_a_cell_that_is_nothing_of_the_kind_says_what_was_wanted(column: str, text: str) -> None:
    with pytest.raises(NotThat) as wrong:
        reader(SCHEMA, column)(text)

    assert wrong.value.wanted


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_whole_numbers_come_through_exactly(number: int) -> None:
    assert reader(SCHEMA, "count")(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_through_exactly(number: float) -> None:
    found = reader(SCHEMA, "price")(repr(number))

    assert isinstance(found, float)
    assert math.isfinite(found)
    assert found == number
