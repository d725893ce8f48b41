"""What the RateLimit headers say."""

from __future__ import annotations

from quota.domain.rates import Counts


def test_the_last_minute_counts_for_the_part_that_is_still_within_sixty_seconds() -> None:
    rate = Counts(current=10, before=40, passed=0.5).rate(100)

    assert (rate.remaining, rate.reset_s) == (70, 30)


def test_a_spent_rate_says_when_the_next_request_fits() -> None:
    by_the_last_minute = Counts(current=0, before=100, passed=0.0).rate(100)
    by_this_minute = Counts(current=100, before=0, passed=0.5).rate(100)

    assert (by_the_last_minute.remaining, by_the_last_minute.reset_s) == (0, 1)
    assert (by_this_minute.remaining, by_this_minute.reset_s) == (0, 31)


def test_a_rate_of_one_a_minute_frees_at_the_end_of_the_next_minute_at_the_latest() -> None:
    assert Counts(current=1, before=0, passed=0.0).rate(1).reset_s == 120
