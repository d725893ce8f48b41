"""`make test` runs its lanes: what is in none of them would never be run."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from tests.lanes import LANES, ROOT

AT_LENGTH = ("tests/benchmarks/", "tests/soak/")


def test_every_test_is_in_exactly_one_lane() -> None:
    files = [each.relative_to(ROOT).as_posix() for each in (ROOT / "tests").rglob("test_*.py")]
    places = list(chain.from_iterable(LANES.values()))
    lanes = Counter({name: sum(name.startswith(f"{place}/") for place in places) for name in files if not name.startswith(AT_LENGTH)})

    assert lanes
    assert {name for name, count in lanes.items() if count != 1} == set()
