"""Slots are given round the tenants, then round a tenant's batches, then in a batch's order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.waves import Line, Share, admitted

ONE, TWO, THREE = (UUID(int=number) for number in range(1, 4))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def line(number: int, tenant: UUID, waiting: int, *, at_work: int = 0) -> Line:
    return Line(batch=UUID(int=100 + number), tenant=tenant, waiting=[1_000 * number + each for each in range(waiting)], at_work=at_work)


def counts(free: int, lines: list[Line], shares: dict[UUID, Share] | None = None) -> list[int]:
    found = admitted(free, lines, shares or {})
    return [len(found.get(each.batch, ())) for each in lines]


def test_a_small_batch_is_not_behind_a_big_one_of_another_tenant() -> None:
    assert counts(4, [line(1, ONE, 256), line(2, TWO, 2)]) == [2, 2]


def test_a_tenant_with_many_batches_has_no_more_than_one_with_one() -> None:
    assert counts(4, [line(1, ONE, 9), line(2, ONE, 9), line(3, TWO, 9)]) == [1, 1, 2]


def test_who_has_fewest_at_work_goes_first() -> None:
    lines = [line(1, ONE, 9, at_work=3), line(2, TWO, 9, at_work=1)]
    assert counts(4, lines, {ONE: Share(at_work=3), TWO: Share(at_work=1)}) == [1, 3]


def test_a_plans_weight_counts_and_its_cap_holds() -> None:
    lines = [line(1, ONE, 90), line(2, TWO, 90), line(3, THREE, 90)]
    assert counts(9, lines, {ONE: Share(weight=6), TWO: Share(weight=2), THREE: Share(most=1)}) == [6, 2, 1]
    assert counts(9, [line(1, ONE, 9)], {ONE: Share(at_work=2, most=2)}) == [0]


@given(
    free=st.integers(0, 40),
    batches=st.lists(st.tuples(st.sampled_from([ONE, TWO, THREE]), st.integers(0, 20), st.integers(0, 5)), max_size=8),
    most=st.integers(0, 6) | st.none(),
)
def test_no_slot_stays_free_that_somebody_may_have_and_each_shard_goes_once_in_order(
    free: int, batches: list[tuple[UUID, int, int]], most: int | None
) -> None:
    lines = [line(number, tenant, waiting, at_work=busy) for number, (tenant, waiting, busy) in enumerate(batches)]
    found = admitted(free, lines, {ONE: Share(most=most)})
    taken = {each.batch: list(found.get(each.batch, ())) for each in lines}

    assert all(taken[each.batch] == list(each.waiting)[: len(taken[each.batch])] for each in lines)
    room = Counter[UUID]()
    for each in lines:
        room[each.tenant] += len(each.waiting)
    if most is not None:
        room[ONE] = min(room[ONE], most)
    assert sum(map(len, taken.values())) == min(free, room.total())


def test_among_equals_who_was_given_a_slot_longest_ago_goes_first() -> None:
    lines = [line(1, ONE, 9), line(2, TWO, 9)]
    assert counts(1, lines, {ONE: Share(served_at=NOON)}) == [0, 1]
    assert counts(1, [replace(line(1, ONE, 9), served_at=NOON), line(2, ONE, 9)]) == [0, 1]


def test_a_slot_given_back_is_taken_by_who_has_fewer_for_its_weight_and_room_for_one() -> None:
    assert Share(at_work=0).takes_from(Share(at_work=1))
    assert not Share(at_work=1).takes_from(Share(at_work=1))
    assert not Share(at_work=0, most=0).takes_from(Share(at_work=5))
    assert not Share(at_work=2).takes_from(Share(at_work=12, weight=6))
    assert Share(at_work=2, weight=2).takes_from(Share(at_work=2))
