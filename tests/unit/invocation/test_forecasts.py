"""When a batch is done: at the rate of the last minute, through the windows ahead, with a warning when that is too late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from invocation.domain import forecasts, paces
from invocation.domain.windows import Window, window_of_text

NOW = datetime(2026, 11, 30, 20, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
NIGHT = window_of_text("22:00-06:00@UTC")


def after(**parts: float) -> datetime:
    return NOW + timedelta(**parts)


def told(work: timedelta | None, *, window: Window | None = None, finish_by: datetime | None = None, now: datetime = NOW) -> list[str]:
    return [str(each.code) for each in forecasts.warnings(work, window=window, finish_by=finish_by, now=now)]


@pytest.mark.parametrize(
    ("hours", "now", "done"),
    [
        (1, NOW, after(hours=3)),
        (8, NOW, after(hours=10)),
        (9, NOW, after(hours=27)),
        (17, NOW, after(hours=51)),
        (1, after(hours=5), after(hours=6)),
        (6, after(hours=5), after(hours=27)),
        (0, after(hours=5), after(hours=5)),
    ],
)
def test_work_goes_on_in_the_windows_only(hours: int, now: datetime, done: datetime) -> None:
    assert forecasts.finish(hours * HOUR, window=NIGHT, now=now) == done


def test_without_a_window_it_goes_on_at_once() -> None:
    assert forecasts.finish(3 * HOUR, window=None, now=NOW) == after(hours=3)
    assert forecasts.finish(None, window=None, now=NOW) is None


def test_nobody_waits_for_what_takes_more_than_ten_years() -> None:
    assert forecasts.time_left(10**12, 0.001) is None
    assert forecasts.finish(timedelta(days=2_000), window=window_of_text("22:00-22:01@UTC"), now=NOW) is None


def test_it_is_said_when_it_will_not_fit() -> None:
    assert told(8 * HOUR, window=NIGHT) == []
    assert told(9 * HOUR, window=NIGHT) == ["window"]
    assert told(2 * HOUR, window=NIGHT, now=after(hours=9)) == ["window"]
    assert told(HOUR, finish_by=after(hours=1)) == []
    assert told(HOUR, finish_by=after(minutes=59)) == ["finish_by"]
    assert told(9 * HOUR, window=NIGHT, finish_by=after(hours=20)) == ["window", "finish_by"]
    assert told(9 * HOUR, window=NIGHT, finish_by=after(hours=27)) == ["window"]
    assert told(None, window=NIGHT, finish_by=after(hours=1)) == []
    assert told(None, finish_by=after(hours=-1)) == ["finish_by"]


def test_a_warning_says_by_when() -> None:
    [warned] = forecasts.warnings(9 * HOUR, window=NIGHT, finish_by=None, now=NOW)
    assert warned.sentence == (
        "It will not fit: the window closes at 2026-12-01 06:00 UTC, and at this rate it is done at 2026-12-01 23:00 UTC."
    )


@given(some.timedeltas(min_value=timedelta(0), max_value=timedelta(days=40)), some.integers(min_value=0, max_value=48))
def test_a_finish_has_just_the_work_before_it(work: timedelta, hours: int) -> None:
    now = after(hours=hours)
    done = forecasts.finish(work, window=NIGHT, now=now)

    assert done is not None
    opened = timedelta(0)
    for span in NIGHT.ahead(now):
        if span.begins >= done:
            break
        opened += min(span.ends, done) - max(span.begins, now)
    assert opened == work


def test_what_is_left_costs_what_the_finished_did() -> None:
    assert forecasts.cost_predicted(Decimal("0.30"), done=3, rows=10) == Decimal("1.000000")
    assert forecasts.cost_predicted(Decimal(0), done=0, rows=10) is None


def paced(*counts: tuple[float, int]) -> list[list[int]]:
    """Return a shard's pace, given checkpoints as seconds before now and rows."""
    pace: list[list[int]] = []
    for ago, rows in counts:
        pace = paces.counted(pace, rows, at=after(seconds=-ago))
    return pace


def test_a_rate_is_that_of_the_last_minute_over_all_shards() -> None:
    steady = paced(*((ago, 50) for ago in range(600, 0, -5)))
    faster = paced(*((ago, 250) for ago in range(60, 0, -5)))

    assert paces.rate([steady], since=after(hours=-1), now=NOW) == 10
    assert paces.rate([steady, faster], since=after(hours=-1), now=NOW) == 60


def test_of_a_minute_that_is_not_full_only_its_part_counts() -> None:
    assert paces.rate([paced((5, 100))], since=after(seconds=-10), now=NOW) == 10
    assert paces.rate([paced((0, 100))], since=NOW, now=NOW) == 100


def test_rows_that_come_seldom_are_not_taken_for_many() -> None:
    assert paces.rate([paced((5, 6))], since=after(hours=-1), now=NOW) == 0.1


def test_while_nothing_ends_the_rate_is_what_it_last_was() -> None:
    long_ago = paced((7_205, 300), (7_200, 300))

    assert paces.rate([long_ago], since=after(hours=-3), now=NOW) == 10
    assert paces.rate([long_ago], since=after(seconds=-30), now=NOW) == 60
    assert paces.rate([[], []], since=NOW, now=NOW) is None


def test_a_pace_stays_small() -> None:
    pace = paced(*((ago / 10, 1) for ago in range(10_000, 0, -1)))

    assert len(pace) <= 25
    assert pace == sorted(pace)
