"""A tenant's day, as values: limits, what is gone, and when it ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from quota.domain.budgets import Spending
from quota.domain.days import UNLIMITED, DayLimits, DayStanding, begins_at, day_of, ends_in, refusal
from quota.domain.resources import Resource

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LIMITS = DayLimits(Decimal("1.00"), 1_000)


def test_a_day_is_a_day_of_utc() -> None:
    late = datetime(2026, 11, 20, 23, 30, tzinfo=timezone(timedelta(hours=-5)))

    assert day_of(late) == date(2026, 11, 21)
    assert begins_at(day_of(late)) == datetime(2026, 11, 21, tzinfo=UTC)
    assert ends_in(NOON) == timedelta(hours=12)
    assert ends_in(begins_at(day_of(NOON))) == timedelta(days=1)


@pytest.mark.parametrize(
    ("used", "more", "lacking"),
    [
        (Spending(Decimal("0.9"), 0), Spending(Decimal("0.1"), 0), None),
        (Spending(Decimal("0.9"), 0), Spending(Decimal("0.2"), 0), Resource.MONEY),
        (Spending(Decimal(0), 999), Spending(Decimal(0), 2), Resource.TOKENS),
    ],
)
def test_what_would_be_too_much_is_named(used: Spending, more: Spending, lacking: Resource | None) -> None:
    assert LIMITS.lacking(used, more) is lacking
    assert UNLIMITED.lacking(used, more) is None


def test_a_day_is_spent_when_nothing_is_left() -> None:
    assert LIMITS.is_spent(Spending(Decimal("0.99"), 999)) is None
    assert LIMITS.is_spent(Spending(Decimal("1.00"), 0)) is Resource.MONEY
    assert LIMITS.is_spent(Spending(Decimal(0), 1_000)) is Resource.TOKENS
    assert DayLimits(Decimal(0), None).is_spent(Spending()) is Resource.MONEY


def test_a_quarter_of_the_rest_is_never_less_than_nothing() -> None:
    assert LIMITS.quarter_of_rest(Spending(Decimal("0.2"), 600)) == DayLimits(Decimal("0.2"), 100)
    assert LIMITS.quarter_of_rest(Spending(Decimal(2), 6_000)) == DayLimits(Decimal(0), 0)
    assert UNLIMITED.quarter_of_rest(Spending(Decimal(2), 6_000)) == UNLIMITED


def test_a_refusal_lasts_until_midnight_and_tells_limit_and_use() -> None:
    money = refusal(Resource.MONEY, LIMITS, Spending(Decimal("0.97"), 5), now=NOON)
    tokens = refusal(Resource.TOKENS, LIMITS, Spending(Decimal(0), 990), now=NOON)

    assert (money.code, money.retry_after, money.facts) == ("daily_budget_spent", timedelta(hours=12), {"limit": "1.00", "used": "0.97"})
    assert (tokens.code, tokens.retry_after, tokens.facts) == ("daily_tokens_spent", timedelta(hours=12), {"limit": 1_000, "used": 990})


def test_a_standing_is_told_in_whole_units() -> None:
    told = list(DayStanding(LIMITS, Spending(Decimal("0.25"), 1_200), 10).in_whole_units())

    assert told == [("daily-money", "micro-usd", 1_000_000, 750_000), ("daily-tokens", "tokens", 1_000, 0)]
    assert not list(DayStanding(UNLIMITED, Spending(), 10).in_whole_units())
