"""How many rows run at once, which of them are finished, and from when on too many failed."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from invocation.domain import failing
from invocation.domain.budgets import Allowance
from invocation.domain.failing import Tolerance
from invocation.domain.flow import WINDOWS, Flow
from invocation.domain.places import Places
from invocation.services.rows_in_flight import RowsInFlight
from quota.domain.budgets import Spending


def test_a_refusal_halves_and_those_that_were_under_way_with_it_say_nothing_new() -> None:
    flow = Flow(512)
    flow.refused(began=0.0, at=1.0)
    for _ in range(100):
        flow.refused(began=0.5, at=1.1)
    assert flow.limit == 256
    flow.refused(began=1.2, at=2.0)
    assert flow.limit == 128


def test_answers_lead_back_to_the_most_by_equal_steps_and_not_beyond() -> None:
    flow = Flow(64)
    for at in range(20):
        flow.refused(began=at, at=at)
    assert flow.limit == 1
    seen = []
    for _ in range(WINDOWS):
        seen.append(flow.limit)
        for _ in range(flow.limit):
            flow.answered()
    steps = [after - before for before, after in pairwise(seen)]
    assert set(steps) <= {1, 2, 3}
    for _ in range(640):
        flow.answered()
    assert flow.limit == 64


def test_shards_share_a_process_evenly_and_a_slow_model_holds_its_own_back_alone() -> None:
    rows = RowsInFlight(most=512, most_of_a_shard=300)
    slow = rows.join("slow")
    assert rows.share("slow") == 300
    rows.join("fast")
    assert (rows.share("slow"), rows.share("fast")) == (256, 256)
    for at in range(4):
        slow.refused(began=at, at=at)
    assert (rows.share("slow"), rows.share("fast"), rows.limits["slow"]) == (32, 256, 32)
    rows.leave("fast")
    assert rows.share("slow") == 32


@given(st.permutations(range(40)), st.integers(0, 40))
def test_places_are_the_same_when_they_are_built_again_from_what_is_kept(order: list[int], many: int) -> None:
    places = Places()
    places.add(order[:many])
    again = Places(places.position, places.ahead)

    assert [place in again for place in range(45)] == [place in order[:many] for place in range(45)]
    again.add(order[many:])
    assert (again.position, again.ahead) == (40, [])


def test_too_many_failed_rows_are_a_share_or_a_count_once_enough_have_ended() -> None:
    assert not Tolerance().is_exceeded(ended=99, failed=99)
    assert Tolerance().is_exceeded(ended=100, failed=20)
    assert not Tolerance().is_exceeded(ended=100, failed=19)
    assert Tolerance(share=None, count=3, least=1).is_exceeded(ended=1_000, failed=3)
    assert not Tolerance(share=None).is_exceeded(ended=1_000, failed=1_000)
    assert not Tolerance(share=0.0).is_exceeded(ended=1_000, failed=0)


def test_failures_before_a_batch_was_resumed_are_not_held_against_it_again() -> None:
    judged = failing.read({"share": 0.2, "least": 100, "ended": 100, "failed": 50})

    assert judged.verdict(ended=250, failed=60) is None
    assert judged.verdict(ended=250, failed=80) == "30 of 150 rows failed since it last went on; in all"


def test_an_allowance_tells_the_same_when_what_is_spent_is_committed() -> None:
    allowance = Allowance(Spending(Decimal("1.00"), 100, 10))
    first, second = (allowance.reserve(Spending(Decimal("0.40"), 40, 1)) for _ in range(2))
    allowance.settle(first, Spending(Decimal("0.10"), 10, 1))
    left = allowance.remaining
    allowance.commit(Spending(Decimal("0.10"), 10, 1))

    assert (allowance.remaining, allowance.limit) == (left, Spending(Decimal("0.90"), 90, 9))
    assert (allowance.holds_something, allowance.settlements) == (True, 1)
    allowance.release(second)
    assert not allowance.holds_something
    allowance.widen(allowance.limit)
    assert allowance.widenings == 0
    allowance.widen(Spending(Decimal(5), 500, 50))
    assert (allowance.widenings, allowance.remaining) == (1, Spending(Decimal(5), 500, 50))
