"""What a manifest may be, what names its rows, and how many of them a slice has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import Form, Format, Naming, Packing, form_of, name_of, naming, sizes

SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}, "sku": {"type": "integer"}}}


@given(rows=st.integers(0, 2_000), shards=st.integers(1, 300))
def test_slices_have_every_row_once_and_differ_by_one_at_most(rows: int, shards: int) -> None:
    found = list(sizes(rows, shards))

    assert sum(found) == rows
    assert len(found) == min(rows, shards)
    assert not found or max(found) - min(found) <= 1


@pytest.mark.parametrize(
    ("name", "wanted", "form"),
    [
        ("lists/a.jsonl", "", Form(Format.JSONL)),
        ("A.NDJSON", "", Form(Format.JSONL)),
        ("a.csv", "", Form(Format.CSV)),
        ("a.csv.gz", "", Form(Format.CSV, Packing.GZIP)),
        ("a.jsonl.zst", "", Form(Format.JSONL, Packing.ZSTD)),
        ("a.parquet", "", Form(Format.PARQUET)),
        ("part-0000", "parquet", Form(Format.PARQUET)),
        ("export.txt", "csv", Form(Format.CSV)),
        ("export.gz", "jsonl", Form(Format.JSONL, Packing.GZIP)),
    ],
)
def test_a_manifest_is_what_was_said_or_what_its_extension_says(name: str, wanted: str, form: Form) -> None:
    assert form_of(name, wanted) == form


@pytest.mark.parametrize(("name", "wanted"), [("list", ""), ("a.json", ""), ("a.gz", ""), ("a.parquet.gz", ""), ("x.zst", "parquet")])
def test_what_nothing_says_is_refused(name: str, wanted: str) -> None:
    with pytest.raises(ManifestInvalid) as refused:
        form_of(name, wanted)

    assert refused.value.facts["field"] == "manifest"


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def named(value: dict[str, Any], column: str | None = None) -> tuple[str, dict[str, Any]]:
    return name_of(3, value, naming(column, SCHEMA), canonical), value


def test_a_row_is_called_by_its_row_id_which_is_none_of_its_input() -> None:
    assert named({"row_id": "r-1", "title": "monster"}) == ("r-1", {"title": "monster"})
    assert named({"row_id": 7}) == ("7", {})


def test_another_column_may_name_the_rows_and_stays_where_the_input_has_it() -> None:
    assert named({"sku": 17, "title": "monster"}, "sku") == ("17", {"sku": 17, "title": "monster"})
    assert named({"key": "a", "title": "monster"}, "key") == ("a", {"title": "monster"})
    assert naming("sku", SCHEMA) == Naming("sku", is_asked=True, is_input=True)


def test_a_row_without_an_id_gets_one_from_what_it_says_in_whatever_order() -> None:
    found = [named(value)[0] for value in ({"title": "monster", "sku": 1}, {"sku": 1, "title": "monster"}, {"title": "pluto"})]

    assert found[0] == found[1] != found[2]


def test_a_row_without_the_column_that_was_asked_for_is_refused() -> None:
    with pytest.raises(ManifestInvalid, match="Line 3") as refused:
        named({"title": "monster"}, "key")

    assert (refused.value.facts["line"], refused.value.facts["column"]) == (3, "key")


@pytest.mark.parametrize("row_id", [True, 1.5, None, "", [], "x" * 201, "a\0b", "a\ud800b", "a\nb"])
def test_an_id_that_cannot_be_kept_is_named(row_id: object) -> None:
    with pytest.raises(ManifestInvalid, match="Line 3") as refused:
        named({"row_id": row_id})

    assert (refused.value.facts["line"], refused.value.facts["field"]) == (3, "/row_id")
