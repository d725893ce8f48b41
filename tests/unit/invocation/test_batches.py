"""How a manifest is cut, and what its lines become."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.batches import parse_row, part_name, slices
from invocation.domain.errors import ManifestInvalid


@given(rows=st.integers(1, 2_000), shards=st.integers(1, 300))
def test_slices_cover_every_row_once_and_differ_by_one_at_most(rows: int, shards: int) -> None:
    offsets = [number * 10 for number in range(rows)]
    found = list(slices(offsets, shards))
    sizes = [part.rows for part in found]

    assert [line for part in found for line in range(part.first, part.first + part.rows)] == list(range(1, rows + 1))
    assert [part.offset for part in found] == [offsets[part.first - 1] for part in found]
    assert [part.index for part in found] == list(range(min(rows, shards)))
    assert max(sizes) - min(sizes) <= 1


def test_a_row_has_its_id_its_input_and_its_line() -> None:
    row = parse_row(b'{"row_id": "r-1", "title": "monster"}\n', 3)

    assert (row.id, row.input, row.line) == ("r-1", {"title": "monster"}, 3)


def test_a_row_without_an_id_gets_one_from_what_it_says() -> None:
    ids = [parse_row(line, 1).id for line in (b'{"title": "monster"}', b'{"title": "monster"}', b'{"title": "pluto"}')]

    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"\xff\xfe", b"[1]", b'"text"', b"null", b"7", b"[" * 100_000],
    ids=["nothing", "half", "no UTF-8", "a list", "a string", "null", "a number", "far too deep"],
)
def test_a_broken_line_is_named(line: bytes) -> None:
    with pytest.raises(ManifestInvalid, match="Line 12") as refused:
        parse_row(line, 12)

    assert refused.value.facts["line"] == 12


@pytest.mark.parametrize("row_id", [0, 7, None, "", [], "x" * 201, "a\0b", "a\ud800b", "a\nb"])
def test_an_id_that_cannot_be_kept_is_named(row_id: object) -> None:
    with pytest.raises(ManifestInvalid, match="Line 5") as refused:
        parse_row(json.dumps({"row_id": row_id}).encode(), 5)

    assert (refused.value.facts["line"], refused.value.facts["field"]) == (5, "row_id")


@given(st.binary(max_size=200))
def test_whatever_a_line_holds_it_is_a_row_or_a_named_line(line: bytes) -> None:
    with suppress(ManifestInvalid):
        assert 1 <= len(parse_row(line, 9).id) <= 200


def test_a_part_is_named_by_its_shard_its_position_and_its_attempt() -> None:
    assert part_name(shard=3, position=128, attempt=2) == "shard=00003/part-000000128-0002.parquet"
