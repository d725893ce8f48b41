"""The simulated provider's limit on tokens a minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.gateways.simulated_provider.limit import WINDOW_S, SlidingMinute


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 60)), max_size=60))
def test_no_minute_holds_more_than_the_limit(calls: list[tuple[float, int]]) -> None:
    limit = SlidingMinute(100)
    taken: list[tuple[float, int]] = []
    now = 0.0
    for pause, tokens in calls:
        now += pause
        if limit.take(tokens, now=now) == 0:
            taken.append((now, tokens))

    for begin, _ in taken:
        assert sum(tokens for at, tokens in taken if begin <= at < begin + WINDOW_S) <= 100


def test_the_wait_it_names_is_the_wait_it_takes() -> None:
    limit = SlidingMinute(100)
    limit.take(60, now=0.0)
    limit.take(40, now=10.0)

    assert limit.take(50, now=20.0) == 40.0
    assert limit.take(50, now=60.0) == 0.0


def test_what_can_never_fit_is_told_to_wait_a_whole_minute() -> None:
    assert SlidingMinute(100).take(101, now=0.0) == WINDOW_S
