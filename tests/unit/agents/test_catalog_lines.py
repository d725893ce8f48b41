"""What a catalog line must be, and how a bad one is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.domain.catalog_lines import BadCatalog, Fault, read_readers, read_titles
from tests.unit.agents.shelf import ROWS

TITLE = ROWS[0]
PURCHASE = {"slug": TITLE["slug"], "volume": 1, "at": "2026-08-14", "order": "o-1", "price_usd": 9.99}
READER = {"reader": "r-1", "name": "Aiko", "locale": "en", "joined": "2023-04-11", "purchases": [PURCHASE]}
VOLUMES = {TITLE["slug"]: TITLE["volumes"]}


def line(row: dict[str, Any], **changes: Any) -> str:
    changed = row | changes
    return json.dumps({name: value for name, value in changed.items() if value is not ...})


def faults(*lines: str) -> list[tuple[int, str]]:
    with pytest.raises(BadCatalog) as bad:
        read_titles(lines)
    return [(fault.line, fault.field) for fault in bad.value.faults]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slug": "Monster!"}, "slug"),
        ({"title": " "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"synopsis": "nul\0"}, "synopsis"),
        ({"author": ...}, "author"),
        ({"year": "1994"}, "year"),
        ({"year": 94}, "year"),
        ({"demographic": "adult"}, "demographic"),
        ({"genres": []}, "genres"),
        ({"genres": ["Sci Fi"]}, "genres"),
        ({"genres": "action"}, "genres"),
        ({"volumes": 0}, "volumes"),
        ({"volumes": True}, "volumes"),
        ({"status": "completed"}, "status"),
        ({"synopsis": None}, "synopsis"),
        ({"publisher": "x"}, "publisher"),
    ],
)
def test_a_bad_field_is_named_with_its_line(changes: dict[str, Any], field: str) -> None:
    assert faults(line(TITLE), line(TITLE, slug="other"), line(TITLE, **changes)) == [(3, field)]


@pytest.mark.parametrize("broken", ["{", "[]", '"text"'])
def test_a_line_that_is_no_object_is_named(broken: str) -> None:
    assert faults(broken) == [(1, "line")]


def test_every_fault_is_named_and_empty_lines_are_none() -> None:
    assert faults(line(TITLE, year=1), "", line(TITLE, volumes=0)) == [(1, "year"), (3, "volumes")]


def test_a_slug_that_comes_twice_is_named() -> None:
    assert faults(line(TITLE), line(TITLE)) == [(2, "slug")]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"joined": "yesterday"}, Fault(1, "joined", "is not a date like 2026-08-14: 'yesterday'")),
        ({"purchases": {}}, Fault(1, "purchases", "is not a list of objects")),
        ({"purchases": [PURCHASE | {"slug": "nowhere"}]}, Fault(1, "purchases.slug", "'nowhere' is not in the catalog")),
        ({"purchases": [PURCHASE | {"price_usd": -1}]}, Fault(1, "purchases.price_usd", "is not an amount of dollars: -1")),
        ({"purchases": [PURCHASE, PURCHASE]}, Fault(1, "purchases.order", "'o-1' stands in line 1 already")),
    ],
)
def test_a_bad_reader_line_is_named(changes: dict[str, Any], fault: Fault) -> None:
    with pytest.raises(BadCatalog) as bad:
        read_readers([line(READER, **changes)], volumes=VOLUMES)

    assert bad.value.faults == (fault,)


def test_a_volume_that_a_title_does_not_have_is_named() -> None:
    with pytest.raises(BadCatalog, match=r"line 1: purchases\.volume 999 is above"):
        read_readers([line(READER, purchases=[PURCHASE | {"volume": 999}])], volumes=VOLUMES)


def test_the_catalog_that_comes_with_gearbox_is_good() -> None:
    assert len(read_titles([json.dumps(row) for row in ROWS])) >= 300
