"""The columns of a dataset: what a JSON Schema types, and what stays JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from invocation.domain.columns import OWN_FIRST, OWN_LAST, Column, Scalar, columns_of, hive_type
from invocation.domain.fitting import fitter, sound
from invocation.domain.partitions import MOST_PARTITIONS, BadPartition, chosen, folder_of, is_many

OWN = {column.name for column in OWN_FIRST + OWN_LAST}


def typed(schema: dict[str, Any]) -> dict[str, str]:
    found = {column.name: "json" if column.kind is Scalar.JSON else hive_type(column.kind) for column in columns_of(schema)}
    return {name: kind for name, kind in found.items() if name not in OWN}


def fitted(output: dict[str, Any], columns: Sequence[Column]) -> dict[str, object]:
    return {column.name: fitter(column.kind)(output.get(column.property)) for column in columns if column.property is not None}


def kind_of(schema: Any, **around: Any) -> str:
    return typed({"properties": {"x": schema}, **around})["x"]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer"}, "bigint"),
        ({"type": "number"}, "double"),
        ({"type": "boolean"}, "boolean"),
        ({"type": ["string", "null"]}, "string"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "bigint"),
        ({"enum": ["a", "b", None]}, "string"),
        ({"const": 3}, "bigint"),
        ({"enum": [True]}, "boolean"),
        ({"type": "array", "items": {"type": "string"}}, "array<string>"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "number"}}}, "array<array<double>>"),
        ({"type": "array"}, "array<string>"),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "integer"}}},
                "additionalProperties": False,
            },
            "struct<a:string,b:array<bigint>>",
        ),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "json"),
        ({"type": "object", "properties": {}, "additionalProperties": False}, "json"),
        ({"type": "object", "properties": {"a": {}, "A": {}}, "additionalProperties": False}, "json"),
        ({"type": ["string", "integer"]}, "json"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "json"),
        ({"enum": ["a", 1]}, "json"),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, "json"),
        ({"type": "null"}, "json"),
        ({}, "json"),
        (True, "json"),
        ({"$ref": "#/$defs/none"}, "json"),
        ({"$ref": "https://example.org/schema"}, "json"),
    ],
)
def test_a_schema_has_a_kind(schema: Any, kind: str) -> None:
    assert kind_of(schema) == kind


def test_references_are_followed_and_do_not_go_around() -> None:
    definitions = {
        "Score": {"type": "object", "properties": {"value": {"type": "number"}}, "additionalProperties": False},
        "Self": {"$ref": "#/$defs/Self"},
        "Tree": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "below": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
            "additionalProperties": False,
        },
    }
    assert kind_of({"$ref": "#/$defs/Score"}, **{"$defs": definitions}) == "struct<value:double>"
    assert kind_of({"anyOf": [{"$ref": "#/$defs/Score"}, {"type": "null"}]}, **{"$defs": definitions}) == "struct<value:double>"
    assert kind_of({"$ref": "#/$defs/Self"}, **{"$defs": definitions}) == "json"
    assert kind_of({"$ref": "#/$defs/Tree"}, **{"$defs": definitions}) == "struct<name:string,below:array<string>>"


def test_a_name_that_is_taken_in_whatever_case_gets_another() -> None:
    names = ["text", "Text", "model", "output_model", "Größe", "a b", "a_b"]
    found = typed({"properties": {name: {"type": "string"} for name in names}})

    assert list(found) == ["text", "output_Text", "output_model", "output_output_model", "Gr__e", "a_b", "output_a_b"]
    assert len({column.name.lower() for column in columns_of({"properties": {name: {} for name in names}})}) == len(OWN) + len(names)


def test_cells_are_filled_from_the_output_and_what_does_not_fit_is_left_out() -> None:
    columns = columns_of(
        {
            "properties": {
                "text": {"type": "string"},
                "count": {"type": "integer"},
                "share": {"type": "number"},
                "is_new": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "more": {},
            }
        }
    )
    output = {"text": "a\ud800b", "count": 3.0, "share": 1, "is_new": True, "tags": ["a", 1], "more": {"any": [1]}}

    assert fitted(output, columns) == {
        "text": "a\ufffdb",
        "count": 3,
        "share": 1.0,
        "is_new": True,
        "tags": ["a", None],
        "more": '{"any": [1]}',
    }
    assert set(fitted({"count": 2**70, "share": "x", "is_new": 1, "tags": "a", "text": 5, "more": None}, columns).values()) == {None}


def test_infinities_do_not_fit_whole_numbers() -> None:
    assert [fitter(Scalar.WHOLE)(value) for value in (float("inf"), float("nan"), 0.5, True, 2.0**63, 2**63)] == [None] * 6
    assert fitter(Scalar.REAL)(10**400) is None


@pytest.mark.parametrize("text", ["", "plain", "Größe", "\U0001f600", "\ufffd"])
def test_whole_text_is_left_alone(text: str) -> None:
    assert sound(text) == text


COLUMNS = columns_of({"properties": {"task": {"type": "string"}, "year": {"type": "integer"}, "tags": {"type": "array"}}})


def test_only_plain_columns_of_few_values_part_a_dataset() -> None:
    assert [column.name for column in chosen(["task", "agent"], COLUMNS)] == ["task", "agent"]
    for names in (["none"], ["tags"], ["row_id"], ["finished_at"], ["output"], ["task", "task"], ["task", "year", "agent", "model"]):
        with pytest.raises(BadPartition):
            chosen(names, COLUMNS)


def test_a_folder_says_its_values_as_hive_does() -> None:
    assert folder_of({"task": "a/b c=ü", "year": 7, "new": True}) == "task=a%2Fb%20c%3D%C3%BC/year=7/new=true"
    assert folder_of({"task": None, "model": ""}) == "task=__HIVE_DEFAULT_PARTITION__/model=__HIVE_DEFAULT_PARTITION__"


def test_many_or_long_values_part_nothing() -> None:
    assert not is_many({f"n={number}" for number in range(MOST_PARTITIONS)})
    assert is_many({f"n={number}" for number in range(MOST_PARTITIONS + 1)})
    assert is_many({"n=" + "x" * 200})


def test_a_column_of_the_output_names_its_property() -> None:
    assert Column("task", Scalar.TEXT, "task") in COLUMNS
