"""Faults by share and by marker."""

from __future__ import annotations

from collections import Counter

import pytest

from agents.gateways.providers.faults import Draws, Fault, Faults


def drawn(faults: Faults, count: int, text: str = "") -> list[Fault | None]:
    draws = Draws(faults)
    return [draws.draw(text) for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_after_any_number_of_calls_each_fault_has_its_share(seed: int) -> None:
    sequence = drawn(Faults(rate_limit=0.1, error=0.05, stall=0.01, cut=0.2, seed=seed), 1000)

    for count in (10, 137, 500, 1000):
        counts = Counter(sequence[:count])
        for fault, share in {Fault.RATE_LIMIT: 0.1, Fault.ERROR: 0.05, Fault.STALL: 0.01, Fault.CUT: 0.2}.items():
            assert abs(counts[fault] - share * count) < 2


def test_the_same_seed_fails_the_same_calls() -> None:
    faults = Faults(error=0.3, cut=0.2, seed=1)

    assert drawn(faults, 200) == drawn(faults, 200) != drawn(Faults(error=0.3, cut=0.2, seed=2), 200)


def test_no_share_means_no_fault_and_the_whole_share_means_every_call() -> None:
    assert set(drawn(Faults(), 50)) == {None}
    assert set(drawn(Faults(error=1.0), 50)) == {Fault.ERROR}


def test_a_marker_asks_for_a_fault_only_where_markers_are_on() -> None:
    assert drawn(Faults(markers=True), 1, "please [[fault:stall]]") == [Fault.STALL]
    assert drawn(Faults(markers=False), 1, "please [[fault:stall]]") == [None]


def test_an_unknown_marker_is_text() -> None:
    assert drawn(Faults(markers=True), 1, "[[fault:earthquake]]") == [None]


@pytest.mark.parametrize("shares", [{"error": -0.1}, {"error": 0.6, "cut": 0.6}])
def test_shares_that_cannot_be_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        Faults(**shares)  # type: ignore[arg-type]
