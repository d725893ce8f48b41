"""How a redrive is paced, what it matches, and what its patch does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.redrives import BURST, LEAST_RATE, MOST_RATE, REDRIVE_EDGES, REDRIVE_OPEN, Edit, Match, Pace, RedriveState, merged

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

# The cases of RFC 7396, appendix A, that may reach us: a target and a patch that are objects.
RFC = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    (["a", "b"], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "wanted"), RFC)
def test_a_patch_is_merged_as_the_rfc_says(target: Any, patch: Any, wanted: Any) -> None:
    assert merged(target, patch) == wanted


def test_a_merge_leaves_the_old_input_as_it_was() -> None:
    old = {"a": {"b": 1}}
    Edit(patch={"a": {"b": 2}}).applied_to(old)

    assert old == {"a": {"b": 1}}


@given(rate=st.floats(LEAST_RATE, MOST_RATE), ticks=st.lists(st.integers(1, 3_000), min_size=1, max_size=50))
def test_no_tick_pattern_starts_more_than_the_rate_lets(rate: float, ticks: list[int]) -> None:
    now, since, started = NOW, NOW, 0
    for gap in ticks:
        now += timedelta(milliseconds=gap)
        pace = Pace(rate, since)
        count = pace.due(now)
        started += count
        since = pace.after(count, now)

    assert started <= (now - NOW).total_seconds() * rate + 1


def test_ticks_on_time_reach_the_rate() -> None:
    since, started = NOW, 0
    for second in range(1, 61):
        now = NOW + timedelta(seconds=second)
        count = Pace(0.75, since).due(now)
        since, started = Pace(0.75, since).after(count, now), started + count

    assert started == 45


def test_the_slowest_rate_starts_one_at_a_time() -> None:
    assert Pace(LEAST_RATE, NOW).due(NOW + timedelta(seconds=9)) == 0
    assert Pace(LEAST_RATE, NOW).due(NOW + timedelta(seconds=10)) == 1


def test_a_long_silence_is_not_made_up_for() -> None:
    assert Pace(10, NOW).due(NOW + timedelta(hours=1)) == BURST.total_seconds() * 10


def test_a_clock_that_runs_behind_starts_nothing() -> None:
    assert Pace(10, NOW).due(NOW - timedelta(seconds=5)) == 0


def test_a_match_is_read_back_as_it_was_written() -> None:
    match = Match(endpoint="a@1", cause="provider", code="down", tenant_id=UUID(int=7), failed_after=NOW, failed_before=NOW)

    assert Match.of_json(match.as_json()) == match
    assert Match.of_json(Match().as_json()) == Match()


def test_an_ended_redrive_has_no_way_out() -> None:
    assert {state for edge in REDRIVE_EDGES.values() for state in edge.sources} == REDRIVE_OPEN
    assert set(RedriveState) - REDRIVE_OPEN == {RedriveState.COMPLETED, RedriveState.ABORTED}
