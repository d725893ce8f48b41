"""The choice of a tier is a pure function: best first, as far as money, tokens, calls and time allow."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.speeds import BEST, NEXT, Speed
from invocation.domain.tiers import Choice, Option, TooDear, Why, below, choose, patience
from quota.domain.budgets import Spending
from quota.domain.resources import Resource

SECOND = timedelta(seconds=1)
PLENTY = Spending(Decimal(1), 10_000, 10)


def option(tier: str, usd: str, seconds: float, *, tokens: int = 100) -> Option:
    return Option(tier, f"model-{tier}", Spending(Decimal(usd), tokens, 1), seconds * SECOND)


STANDARD, ECONOMY = option("standard", "0.010", 3), option("economy", "0.002", 1)
BOTH = [STANDARD, ECONOMY]


@pytest.mark.parametrize(
    ("left", "seconds", "used", "why"),
    [
        (PLENTY, 60, "standard", None),
        (Spending(Decimal("0.005"), 10_000, 10), 60, "economy", Why.COST),
        (PLENTY, 2, "economy", Why.LATENCY),
        (Spending(Decimal("0.005"), 10_000, 10), 2, "economy", Why.COST),
        (PLENTY, 0.5, "economy", Why.LATENCY),
        (PLENTY, -5, "economy", Why.LATENCY),
    ],
)
def test_the_best_tier_that_fits_answers(left: Spending, seconds: float, used: str, why: Why | None) -> None:
    choice = choose(BOTH, left=left, time=seconds * SECOND)

    assert isinstance(choice, Choice)
    assert (choice.option.tier, choice.why) == (used, why)


@pytest.mark.parametrize(
    ("left", "what"),
    [
        (Spending(Decimal("0.001"), 10_000, 10), Resource.MONEY),
        (Spending(Decimal(1), 99, 10), Resource.TOKENS),
        (Spending(Decimal(1), 10_000, 0), Resource.CALLS),
    ],
)
def test_what_no_tier_can_be_paid_of_is_named(left: Spending, what: Resource) -> None:
    refusal = choose(BOTH, left=left, time=60 * SECOND)

    assert isinstance(refusal, TooDear)
    assert refusal.what is what


def test_time_alone_refuses_nothing() -> None:
    assert choose([STANDARD], left=PLENTY, time=timedelta(0)) == Choice(STANDARD)


def test_a_cheaper_tier_that_is_slower_is_not_chosen_for_speed() -> None:
    slow = option("economy", "0.002", 9)

    assert choose([STANDARD, slow], left=PLENTY, time=SECOND) == Choice(STANDARD)


def test_of_three_tiers_the_one_in_the_middle_may_be_too_slow() -> None:
    middle, last = option("middle", "0.005", 9), option("last", "0.001", 1)
    choice = choose([STANDARD, middle, last], left=Spending(Decimal("0.006"), 1_000, 1), time=2 * SECOND)

    assert choice == Choice(last, Why.LATENCY)


money, seconds = st.decimals(0, 1, places=3), st.integers(0, 20)
one = st.builds(lambda usd, took, at: option(f"tier-{at}", str(usd), took), money, seconds, st.integers(0, 99))
options = st.lists(one, min_size=1, max_size=5)


@given(options, money, seconds)
def test_what_is_chosen_can_always_be_paid_and_nothing_better_would_have_fitted(asked: list[Option], usd: Decimal, took: int) -> None:
    left, time = Spending(usd, 1_000, 1), took * SECOND
    choice = choose(asked, left=left, time=time)
    fitting = [each for each in asked if each.most.fits(left) and each.takes <= time]

    if isinstance(choice, TooDear):
        assert not any(each.most.fits(left) for each in asked)
    else:
        assert choice.option.most.fits(left)
        assert choice.option is (fitting[0] if fitting else choice.option)
        assert (choice.why is None) == (choice.option is asked[0])


def test_below_a_tier_are_those_after_it() -> None:
    assert list(below(BOTH, STANDARD)) == [ECONOMY]
    assert list(below(BOTH, ECONOMY)) == []


def test_a_tiers_quota_is_waited_for_as_long_as_the_next_can_still_be_asked() -> None:
    assert patience(STANDARD, time=8 * SECOND, is_last=False) == 2 * SECOND
    assert patience(STANDARD, time=3.5 * SECOND, is_last=False) == 0.5 * SECOND
    assert patience(STANDARD, time=SECOND, is_last=False) == timedelta(0)
    assert patience(STANDARD, time=8 * SECOND, is_last=True) == 8 * SECOND
    assert patience(STANDARD, time=-SECOND, is_last=True) == timedelta(0)


def test_a_tier_that_was_not_asked_yet_is_believed_to_be_quicker_below_the_best() -> None:
    assert NEXT.estimate(most_tokens=512) < BEST.estimate(most_tokens=512)


def test_an_estimate_is_no_longer_than_the_answer_may_be() -> None:
    assert Speed(first_s=1, token_s=0.1, tokens=150).estimate(most_tokens=10) == 2 * SECOND
    assert Speed(first_s=1, token_s=0.1, tokens=150).estimate(most_tokens=512) == 16 * SECOND


def test_a_speed_follows_what_is_seen() -> None:
    speed = BEST
    for _ in range(40):
        speed = speed.learned(first_s=2, rest_s=10, tokens=100)

    assert speed.first_s == pytest.approx(2, abs=0.01)
    assert speed.token_s == pytest.approx(0.1, abs=0.001)
    assert speed.tokens == pytest.approx(100, abs=0.1)


def test_an_empty_answer_says_nothing_of_the_pace() -> None:
    assert BEST.learned(first_s=1, rest_s=1, tokens=0).token_s == BEST.token_s
