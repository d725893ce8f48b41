"""Windows of batches: over midnight, through nights of which an hour is missing or comes twice, and how long they are open."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from invocation.domain.windows import Span, Window, WindowInvalid, window_of, window_of_text

BERLIN = "Europe/Berlin"
HOUR = timedelta(hours=1)
ZONES = some.sampled_from(
    [
        BERLIN,
        "UTC",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "America/St_Johns",
        "America/Sao_Paulo",
        "Africa/Casablanca",
    ]
)
CLOCKS = some.times().map(lambda at: at.replace(second=0, microsecond=0))
WINDOWS = (
    some.tuples(CLOCKS, CLOCKS, ZONES)
    .filter(lambda told: told[0] != told[1])
    .map(lambda told: Window(start=told[0], end=told[1], zone=told[2]))
)
MOMENTS = some.integers(min_value=1_230_768_000, max_value=2_145_000_000).map(lambda second: datetime.fromtimestamp(second, tz=UTC))


def window(text: str) -> Window:
    return window_of_text(text)


def berlin(*parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(BERLIN), fold=fold)  # type: ignore[arg-type, misc]


def test_over_midnight_the_window_of_yesterday_is_open() -> None:
    night = window("22:00-06:00@Europe/Berlin")

    assert night.holds(berlin(2026, 11, 30, 22, 0))
    assert night.holds(berlin(2026, 12, 1, 5, 59))
    assert not night.holds(berlin(2026, 12, 1, 6, 0))
    assert not night.holds(berlin(2026, 11, 30, 21, 59))
    assert night.next(berlin(2026, 12, 1, 12, 0)) == Span(berlin(2026, 12, 1, 22, 0), berlin(2026, 12, 2, 6, 0))


def test_within_a_day_it_is_open_between_its_times() -> None:
    noon = window("11:30-13:00@UTC")

    assert [noon.holds(datetime(2026, 11, 30, hour, 45, tzinfo=UTC)) for hour in (10, 11, 12, 13)] == [False, True, True, False]
    assert noon.next(datetime(2026, 11, 30, 12, 45, tzinfo=UTC)).left(datetime(2026, 11, 30, 12, 45, tzinfo=UTC)) == HOUR / 4


@pytest.mark.parametrize(
    ("day", "hours"),
    [((2026, 3, 27), 8), ((2026, 3, 28), 7), ((2026, 10, 24), 9), ((2026, 10, 25), 8)],
    ids=["usual", "an hour is missing", "an hour comes twice", "usual again"],
)
def test_a_night_is_as_long_as_its_clocks_make_it(day: tuple[int, int, int], hours: int) -> None:
    span = window("22:00-06:00@Europe/Berlin").next(berlin(*day, 12, 0))

    assert span.ends - span.begins == hours * HOUR


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("02:30-06:00@Europe/Berlin", (2026, 3, 29, 1, 0), (2026, 3, 29, 4, 0)),
        ("01:00-02:30@Europe/Berlin", (2026, 3, 29, 0, 0), (2026, 3, 29, 1, 0)),
        ("02:15-02:45@Europe/Berlin", (2026, 3, 30, 0, 15), (2026, 3, 30, 0, 45)),
    ],
    ids=["it begins at the jump", "it ends at the jump", "that night has none"],
)
def test_a_time_that_is_missing_is_the_moment_of_the_jump(text: str, begins: tuple[int, ...], ends: tuple[int, ...]) -> None:
    span = window(text).next(berlin(2026, 3, 29, 0, 30))

    assert span == Span(datetime(*begins, tzinfo=UTC), datetime(*ends, tzinfo=UTC))  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("02:30-06:00@Europe/Berlin", (2026, 10, 25, 0, 30), (2026, 10, 25, 5, 0)),
        ("22:00-02:30@Europe/Berlin", (2026, 10, 24, 20, 0), (2026, 10, 25, 0, 30)),
        ("02:15-02:45@Europe/Berlin", (2026, 10, 25, 0, 15), (2026, 10, 25, 0, 45)),
    ],
)
def test_a_time_that_comes_twice_is_the_first_of_both(text: str, begins: tuple[int, ...], ends: tuple[int, ...]) -> None:
    span = window(text).next(berlin(2026, 10, 24, 22, 30))

    assert span == Span(datetime(*begins, tzinfo=UTC), datetime(*ends, tzinfo=UTC))  # type: ignore[arg-type, misc]
    assert not window("22:00-02:30@Europe/Berlin").holds(berlin(2026, 10, 25, 2, 15, fold=1))


def test_a_day_that_a_zone_left_out_has_no_window() -> None:
    """Samoa went from the 29th of December 2011 to the 31st."""
    spans = list(islice(window("10:00-12:00@Pacific/Apia").ahead(datetime(2011, 12, 29, 0, 0, tzinfo=UTC)), 3))

    assert [span.begins.astimezone(ZoneInfo("Pacific/Apia")).day for span in spans] == [29, 31, 1]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("22:00-06:00", "window"),
        ("22-6@UTC", "start"),
        ("24:00-06:00@UTC", "start"),
        ("22:00-06:60@UTC", "end"),
        ("22:00-22:00@UTC", "end"),
        ("22:00-06:00@Mars/Olympus", "zone"),
        ("22:00-06:00@../etc", "zone"),
    ],
)
def test_what_is_no_window_is_refused_by_its_part(text: str, field: str) -> None:
    with pytest.raises(WindowInvalid) as refused:
        window(text)
    assert refused.value.field == field


@given(WINDOWS)
def test_a_window_reads_as_it_is_written(any_window: Window) -> None:
    assert window(str(any_window)) == any_window == window_of(any_window.as_json())


@given(WINDOWS, MOMENTS)
def test_windows_follow_one_another_and_never_overlap(any_window: Window, moment: datetime) -> None:
    spans = list(islice(any_window.ahead(moment), 5))

    assert moment < spans[0].ends
    assert all(span.begins < span.ends for span in spans)
    assert all(before.ends <= after.begins for before, after in pairwise(spans))
    assert spans[0].ends - moment <= 3 * 24 * HOUR


@given(WINDOWS, MOMENTS)
def test_it_is_open_just_when_the_clocks_say_so_but_near_a_change(any_window: Window, moment: datetime) -> None:
    zone = ZoneInfo(any_window.zone)
    offsets = {(moment + hours * HOUR).astimezone(zone).utcoffset() for hours in range(-49, 50)}
    if len(offsets) > 1:
        return
    clock: time = moment.astimezone(zone).time()
    start, end = any_window.start, any_window.end
    expected = start <= clock < end if start < end else not end <= clock < start

    assert any_window.holds(moment) is expected


@given(WINDOWS, MOMENTS)
def test_each_edge_is_where_it_changes(any_window: Window, moment: datetime) -> None:
    span = any_window.next(moment)

    assert any_window.holds(span.begins)
    assert any_window.holds(span.ends - timedelta(microseconds=1))
    assert any_window.next(span.ends) != span
