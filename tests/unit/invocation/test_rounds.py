"""How free slots are shared between tenants."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.rounds import (
    A_CROWD,
    A_FEW,
    A_MESSAGE,
    AT_ONCE,
    LONGEST_TICK_S,
    REST,
    SHORT_TICK_S,
    START,
    TICK_S,
    Pace,
    Place,
    Room,
    messages,
    shares,
)

rooms = st.lists(st.tuples(st.integers(1, 100), st.none() | st.integers(0, 50)), max_size=70).map(
    lambda told: [Room(UUID(int=number + 1), weight, room) for number, (weight, room) in enumerate(told)]
)


@given(rooms=rooms, free=st.integers(0, 500))
def test_nobody_is_given_more_than_is_free_or_than_the_plan_lets(rooms: list[Room], free: int) -> None:
    given_each = shares(rooms, free=free)
    room_of = {room.tenant: room.room for room in rooms}

    for tenant, share in given_each.items():
        cap = room_of[tenant]
        assert 1 <= share <= free
        assert cap is None or share <= cap


@given(rooms=rooms, free=st.integers(1, 500))
def test_everybody_who_has_room_is_given_at_least_one(rooms: list[Room], free: int) -> None:
    assert set(shares(rooms, free=free)) == {room.tenant for room in rooms if room.room != 0}


@given(rooms=rooms, free=st.integers(1, 500))
def test_no_slot_is_left_while_uncapped_tenants_wait(rooms: list[Room], free: int) -> None:
    uncapped = [Room(room.tenant, room.weight, None) for room in rooms]

    assert not uncapped or sum(shares(uncapped, free=free).values()) >= free


@given(weight=st.integers(1, 50), times=st.integers(2, 9), free=st.integers(1, 500))
def test_a_heavier_tenant_is_given_as_much_more_as_it_weighs(weight: int, times: int, free: int) -> None:
    light, heavy = Room(UUID(int=1), weight, None), Room(UUID(int=2), weight * times, None)
    given_each = shares([light, heavy], free=free)

    assert given_each[heavy.tenant] <= times * given_each[light.tenant]
    assert abs(given_each[heavy.tenant] - free * times / (times + 1)) <= 1


def test_without_a_free_slot_nobody_is_given_any() -> None:
    assert shares([Room(UUID(int=1), 1, None)], free=0) == {}
    assert shares([], free=9) == {}


def test_a_tenant_that_has_not_had_its_weight_is_the_next_again() -> None:
    tenant = UUID(int=7)

    assert Place(tenant, had=2).behind < tenant
    assert Place(tenant).behind == tenant
    assert START.behind == UUID(int=0)


def rounds_until(end: float, *, admitted: int, took: float = 0.0) -> list[float]:
    """Play rounds, each as soon as it may begin."""
    pace, now, began = Pace(), 100.0, []
    while now < 100.0 + end:
        began.append(now - 100.0)
        now += took
        pace.went(admitted, took=took, now=now)
        now += max(pace.wait(now=now), 1e-6)
    return began


def test_after_a_rest_a_few_rounds_come_at_once_and_then_one_a_tick() -> None:
    began = rounds_until(1.0, admitted=1)

    assert began[AT_ONCE - 1] < TICK_S / 2
    assert len(began) <= 1.0 / TICK_S + AT_ONCE + 1
    assert len(rounds_until(1.0, admitted=A_CROWD)) > 0.9 / SHORT_TICK_S


def test_rounds_that_take_long_come_more_seldom_but_for_a_crowd_and_never_less_often_than_the_longest_tick() -> None:
    quick, slow, stuck = (len(rounds_until(3.0, admitted=A_FEW, took=took)) for took in (0.001, 0.003, 0.04))

    assert 0.9 < quick / (3.0 / TICK_S) < 1.1
    assert 0.9 < slow / (3.0 / (REST * 0.003)) < 1.1
    assert 0.9 < stuck / (3.0 / LONGEST_TICK_S) < 1.1
    assert len(rounds_until(3.0, admitted=A_CROWD, took=0.005)) > 0.9 * 3.0 / SHORT_TICK_S


def test_a_slow_machine_has_as_many_rounds_at_once_after_a_rest() -> None:
    began = rounds_until(0.5, admitted=A_FEW, took=0.01)

    assert began[AT_ONCE - 1] < AT_ONCE * 0.01
    assert began[-1] - began[-2] > 0.9 * LONGEST_TICK_S


@pytest.mark.parametrize("admitted", [0, A_FEW - 1])
def test_a_round_that_admits_few_costs_the_next_no_more_than_a_tick(admitted: int) -> None:
    assert len(rounds_until(3.0, admitted=admitted, took=0.01)) > 0.9 * 3.0 / TICK_S


def test_a_newcomer_waits_no_longer_than_a_tick_after_the_last_round_however_long_the_others_rest() -> None:
    pace = Pace()
    for _ in range(20):
        pace.went(A_FEW, took=0.01, now=10.0)

    assert pace.wait(now=10.0) > LONGEST_TICK_S
    assert pace.wait(now=10.0, has_newcomer=True) == pytest.approx(TICK_S)
    assert pace.wait(now=10.0 + TICK_S, has_newcomer=True) == 0.0
    assert Pace().wait(now=10.0, has_newcomer=True) == 0.0


def test_a_rest_gives_the_burst_back() -> None:
    pace = Pace()
    for _ in range(50):
        pace.went(1, took=0.0, now=10.0)

    assert pace.wait(now=10.0) > 0.5
    assert pace.wait(now=10.0 + 50 * TICK_S) == 0.0


@given(count=st.integers(0, 600), processes=st.integers(0, 40))
def test_a_rounds_jobs_are_shared_between_the_processes_in_messages_of_bounded_size(count: int, processes: int) -> None:
    shared = messages(range(count), processes=processes)

    assert [each for message in shared for each in message] == list(range(count))
    assert all(0 < len(message) <= A_MESSAGE for message in shared)
    assert len(shared) <= max(processes, -(-count // A_MESSAGE), 1)
