"""How limits are shared by the classes, when a provider's day begins, and what a caller may do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quota.domain.classes import PriorityClass
from quota.domain.errors import CanNeverFit
from quota.domain.limits import Limits, check_fits, midnights, pools
from quota.domain.local_share import NEVER, LocalShare, Rate, rate

LIMITS = Limits(tokens_per_minute=100_000, requests_per_minute=600, p0_reserved=0.3, p3_cap=0.5)


def test_each_lower_class_draws_on_narrower_pools() -> None:
    tokens = {word: [pool.tokens for pool in pools(LIMITS, word)] for word in PriorityClass}

    assert tokens == {"p0": [100_000], "p1": [100_000, 70_000], "p2": [100_000, 70_000], "p3": [100_000, 70_000, 50_000]}


def test_the_day_is_shared_as_the_minute_is() -> None:
    limits = replace(LIMITS, tokens_per_day=1_000_000)

    assert [pool.day_tokens for pool in pools(limits, PriorityClass.P3)] == [1_000_000, 700_000, 500_000]
    assert pools(limits, PriorityClass.P3)[2].day_requests is None


@given(st.integers(1000, 10**9), st.floats(0, 0.9), st.floats(0.05, 1))
def test_no_cap_of_p3_reaches_into_the_reserve_of_p0(tokens: int, reserved: float, cap: float) -> None:
    limits = Limits(tokens_per_minute=tokens, requests_per_minute=600, p0_reserved=reserved, p3_cap=cap)
    whole, shared, capped = pools(limits, PriorityClass.P3)

    assert capped.tokens <= shared.tokens <= whole.tokens - int(tokens * reserved * 0.999999)


def test_a_call_larger_than_its_class_may_ever_take_can_never_fit() -> None:
    check_fits(LIMITS, PriorityClass.P0, tokens=100_000)
    with pytest.raises(CanNeverFit, match="50000"):
        check_fits(LIMITS, PriorityClass.P3, tokens=50_001)
    with pytest.raises(CanNeverFit, match="20000"):
        check_fits(replace(LIMITS, tokens_per_day=40_000), PriorityClass.P3, tokens=20_001)


def test_a_class_whose_share_is_less_than_one_request_can_never_fit() -> None:
    few = Limits(tokens_per_minute=100_000, requests_per_minute=3, p0_reserved=0.0, p3_cap=0.3)

    check_fits(few, PriorityClass.P1, tokens=10)
    with pytest.raises(CanNeverFit):
        check_fits(few, PriorityClass.P3, tokens=10)


def test_a_day_begins_at_midnight_of_the_providers_zone_also_where_the_clock_changes() -> None:
    limits = replace(LIMITS, day_zone="America/Los_Angeles")
    noon = datetime(2026, 3, 8, 20, 0, tzinfo=UTC)

    found = [datetime.fromtimestamp(each, tz=UTC) for each in midnights(limits, at=noon.timestamp())]

    assert found[1:3] == [datetime(2026, 3, 8, 8, tzinfo=UTC), datetime(2026, 3, 9, 7, tzinfo=UTC)]
    assert found[0] < found[1] < found[2] < found[3]


def test_a_key_allows_its_highest_class_and_those_below() -> None:
    assert [word for word in PriorityClass if PriorityClass.P1.allows(word)] == ["p1", "p2", "p3"]


RATE = Rate(tokens=100, requests=1)


def test_the_local_share_gives_its_burst_then_its_rate() -> None:
    share = LocalShare()
    assert share.take(3000, rate=RATE, at=10) == timedelta(0)
    assert share.take(200, rate=RATE, at=11) == timedelta(seconds=1)
    assert share.take(200, rate=RATE, at=12) == timedelta(0)


def test_small_calls_find_no_more_requests_in_the_local_share_than_its_rate_gives() -> None:
    share = LocalShare()
    assert [share.take(1, rate=RATE, at=0) for _ in range(30)] == [timedelta(0)] * 30
    assert share.take(1, rate=RATE, at=0) == timedelta(seconds=1)
    assert share.take(1, rate=RATE, at=1) == timedelta(0)


def test_a_refused_call_takes_nothing_of_the_local_share() -> None:
    share = LocalShare()
    assert share.take(2999, rate=RATE, at=0) == timedelta(0)
    assert [share.take(101, rate=RATE, at=0) for _ in range(40)] == [timedelta(seconds=1)] * 40
    assert share.take(1, rate=RATE, at=0) == timedelta(0)


def test_however_few_requests_a_model_has_the_local_share_lets_one_go() -> None:
    share = LocalShare()
    assert share.take(1, rate=Rate(tokens=100, requests=0.01), at=0) == timedelta(0)
    assert share.take(1, rate=Rate(tokens=100, requests=0.01), at=0) == timedelta(seconds=100)


def test_the_local_share_is_a_quarter_of_p0s_reserve() -> None:
    assert rate(Limits(tokens_per_minute=2400, requests_per_minute=240, p0_reserved=0.5, p3_cap=0.4)) == Rate(tokens=5, requests=0.5)


def test_what_the_local_share_cannot_hold_is_never_given() -> None:
    assert LocalShare().take(3001, rate=RATE, at=0) == NEVER
    assert LocalShare().take(1, rate=Rate(0, 1), at=0) == NEVER
    assert LocalShare().take(1, rate=Rate(1, 0), at=0) == NEVER
