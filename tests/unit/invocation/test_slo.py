"""When an alert opens and closes, judged from the records of a class's last minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from invocation.domain.modes import POLICIES
from invocation.domain.slo import (
    DEAD_LETTERS_A_DAY,
    EMPTIEST,
    FULLEST,
    OBJECTIVES,
    WINDOW,
    AlertKind,
    Sample,
    Standing,
    eta,
    judge,
    kinds_of,
    utilisation,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BREACHED, BETWEEN, KEPT = Standing


def a_sample(at: datetime = NOW, **figures: Any) -> Sample:
    calm = {"depth": 0, "slots": 10, "busy": 7, "admitted": 60, "finished": 60, "dead": 0, "volume": 10_000, "holds": 0, "is_led": True}
    return Sample(at=at, **{"oldest": timedelta(), **calm, **figures})


def minutes(*each: dict[str, Any]) -> list[Sample]:
    """Make a record a minute, the last one now."""
    return [a_sample(NOW - MINUTE * (len(each) - 1 - place), **figures) for place, figures in enumerate(each)]


def standing(kind: AlertKind, *each: dict[str, Any], of: str = "p1") -> Standing:
    return next(found.standing for found in judge(OBJECTIVES[of], minutes(*each)) if found.kind is kind)


def test_a_class_that_is_well_keeps_every_objective() -> None:
    found = judge(OBJECTIVES["p1"], minutes(*[{}] * WINDOW))

    assert {each.kind for each in found} == set(AlertKind)
    assert {each.standing for each in found} == {KEPT}


def test_without_a_record_nothing_is_said() -> None:
    assert judge(OBJECTIVES["p1"], []) == []


def test_every_class_has_an_objective_and_the_bound_of_its_mode() -> None:
    assert {name: each.oldest for name, each in OBJECTIVES.items()} == {
        terms.priority_class: terms.oldest_wait for terms in POLICIES.values()
    }


def test_only_who_keeps_dead_letters_and_is_dispatched_is_judged_by_it() -> None:
    assert {name for name, each in OBJECTIVES.items() if AlertKind.DEAD_LETTER_SHARE in kinds_of(each)} == {"p1"}
    assert {name for name, each in OBJECTIVES.items() if AlertKind.DISPATCHER_SILENT in kinds_of(each)} == {"p1", "p2"}


@pytest.mark.parametrize(("dead", "expected"), [(0, KEPT), (4, KEPT), (5, BETWEEN), (6, BREACHED)])
def test_dead_letters_above_their_share_of_the_day_are_a_breach(dead: int, expected: Standing) -> None:
    assert DEAD_LETTERS_A_DAY == 0.0005
    assert standing(AlertKind.DEAD_LETTER_SHARE, {"dead": dead, "volume": 10_000}) is expected


def test_a_day_without_jobs_has_no_share_of_dead_letters() -> None:
    assert standing(AlertKind.DEAD_LETTER_SHARE, {"dead": 0, "volume": 0}) is KEPT


@pytest.mark.parametrize(
    ("ages", "expected"),
    [([61], BREACHED), ([0, 61], BREACHED), ([61, 59], BETWEEN), ([61, 10], BETWEEN), ([49, 10], BETWEEN), ([48, 10], KEPT)],
)
def test_the_oldest_is_a_breach_at_once_and_kept_after_two_looks_well_below(ages: list[int], expected: Standing) -> None:
    assert standing(AlertKind.OLDEST_AGE, *({"oldest": timedelta(seconds=age)} for age in ages)) is expected


@pytest.mark.parametrize(("busy", "expected"), [(100, BREACHED), (76, BREACHED), (74, BETWEEN), (73, KEPT), (0, KEPT)])
def test_slots_above_the_band_for_ten_minutes_are_a_breach(busy: int, expected: Standing) -> None:
    assert FULLEST == 0.75
    assert standing(AlertKind.UTILISATION_HIGH, *[{"slots": 100, "busy": busy}] * WINDOW) is expected


@pytest.mark.parametrize(("busy", "expected"), [(100, KEPT), (67, KEPT), (66, BETWEEN), (64, BREACHED), (0, BREACHED)])
def test_slots_below_the_band_for_ten_minutes_are_a_breach_where_there_is_work(busy: int, expected: Standing) -> None:
    assert EMPTIEST == 0.65
    assert standing(AlertKind.UTILISATION_LOW, *[{"slots": 100, "busy": busy}] * WINDOW) is expected


def test_an_idle_class_does_not_have_too_many_slots() -> None:
    assert standing(AlertKind.UTILISATION_LOW, *[{"busy": 0, "admitted": 0}] * WINDOW) is KEPT


def test_one_full_minute_is_no_breach() -> None:
    assert standing(AlertKind.UTILISATION_HIGH, *[{}] * 9, {"busy": 10}) is KEPT
    assert standing(AlertKind.UTILISATION_HIGH, *[{"busy": 10}] * 9) is BETWEEN


def test_use_is_not_measured_over_a_gap_in_the_records() -> None:
    late = [a_sample(NOW - timedelta(hours=1) + MINUTE * place, busy=10) for place in range(WINDOW - 1)]

    assert utilisation([*late, a_sample(busy=10)]) is None
    assert utilisation([a_sample(NOW - MINUTE * ago, busy=10) for ago in reversed(range(WINDOW))]) == 1.0


def test_a_dispatcher_that_nobody_is_stands_silent_at_the_second_look() -> None:
    assert standing(AlertKind.DISPATCHER_SILENT, {"is_led": False}) is BETWEEN
    assert standing(AlertKind.DISPATCHER_SILENT, {"is_led": False}, {"is_led": False}) is BREACHED
    assert standing(AlertKind.DISPATCHER_SILENT, {"is_led": False}, {}) is KEPT


STILL: dict[str, Any] = {"depth": 1, "oldest": timedelta(seconds=61), "busy": 0, "admitted": 0}


@pytest.mark.parametrize(
    ("but", "expected"),
    [({}, BREACHED), ({"holds": 1}, KEPT), ({"busy": 1}, KEPT), ({"admitted": 1}, KEPT), ({"slots": 0}, KEPT), ({"oldest": MINUTE}, KEPT)],
)
def test_a_leader_that_lets_ready_work_stand_before_free_slots_is_silent(but: dict[str, Any], expected: Standing) -> None:
    assert standing(AlertKind.DISPATCHER_SILENT, *[STILL | but] * 2) is expected


@pytest.mark.parametrize(
    ("looks", "expected"),
    [([(0, 1), (0, 1)], BREACHED), ([(4, 1), (0, 1)], BETWEEN), ([(0, 1), (4, 1)], KEPT), ([(0, 0), (0, 0)], KEPT), ([(0, 1)], BETWEEN)],
)
def test_a_pool_without_workers_is_a_breach_when_work_waits_for_it(looks: list[tuple[int, int]], expected: Standing) -> None:
    assert standing(AlertKind.POOL_EMPTY, *({"slots": slots, "depth": depth, "busy": 0} for slots, depth in looks)) is expected


def test_what_waits_is_done_at_the_pace_of_the_last_minutes() -> None:
    samples = minutes(*[{"finished": 60}] * 6)

    assert eta(samples, depth=120) == timedelta(minutes=2)
    assert eta(minutes({"finished": 0}, {"finished": 0}), depth=120) is None
    assert eta([], depth=1) is None


def test_a_finding_says_what_was_found_and_the_bound() -> None:
    [found] = [each for each in judge(OBJECTIVES["p1"], minutes({"oldest": timedelta(seconds=90)})) if each.kind is AlertKind.OLDEST_AGE]

    assert (found.priority_class, found.found, found.bound) == ("p1", 90.0, 60.0)
    assert found.sentence == "The oldest that waits in p1 has waited 90 s; the objective is 60 s."
