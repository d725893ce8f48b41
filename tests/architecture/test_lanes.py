"""`make test` runs its lanes: what is in none of them would never be run."""

from __future__ import annotations

from itertools import chain

from tests.lanes import LANES, ROOT


def test_every_folder_of_tests_is_in_exactly_one_lane() -> None:
    at_length = {"benchmarks", "soak"}
    folders = {each.parent.name for each in (ROOT / "tests").glob("*/__init__.py")} - at_length
    alone = [each.name for each in (ROOT / "tests").glob("test_*.py")]
    named = list(chain.from_iterable(LANES.values()))

    assert sorted(named) == sorted(f"tests/{each}" for each in folders)
    assert alone == []
