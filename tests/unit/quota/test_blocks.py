"""A leased block: never more than was leased, nothing after its expiry, its rest known when it ends."""

from __future__ import annotations

from quota.domain.blocks import Block, Demand
from quota.domain.classes import PriorityClass
from quota.domain.exchanges import Place

PLACE = Place(102, 100, "g")


def block() -> Block:
    return Block(PriorityClass.P3, PLACE, 100, 3, expires_at=5.0)


def test_a_block_gives_no_more_tokens_and_requests_than_it_holds() -> None:
    assert [block().take(tokens, at=0) for tokens in (100, 101)] == [True, False]
    held = block()
    assert [held.take(1, at=0) for _ in range(4)] == [True, True, True, False]


def test_no_call_begins_on_a_block_after_its_expiry_or_end() -> None:
    held = block()
    assert not held.take(1, at=5.0)
    held.close()
    assert not held.take(1, at=0.0)


def test_what_a_call_did_not_use_serves_the_next_one() -> None:
    held = block()
    held.take(100, at=0)
    assert held.put_back(60, 0)
    assert held.take(60, at=0)


def test_an_ended_block_tells_what_it_held_and_what_was_taken_and_takes_nothing_back() -> None:
    held = block()
    held.take(30, at=0)
    told = held.close()

    assert (told.tokens, told.requests, told.used_tokens, told.used_requests) == (100, 3, 30, 1)
    assert not held.put_back(30, 1)


def test_a_block_that_ended_stands_where_the_store_moved_it() -> None:
    held = block()
    held.close()
    assert not held.is_placed
    held.ended(104)

    assert (held.is_placed, held.place) == (True, Place(104, 104, "g"))
    held.ended(None)
    assert held.place.slot == 104


def test_few_calls_need_no_block_and_many_get_half_a_seconds_worth() -> None:
    demand = Demand()
    for at in (0.0, 0.1, 0.2):
        demand.note(100, at=at)
    assert demand.of_a_block(at=0.3) == (0, 0)
    demand.note(100, at=0.3)
    assert demand.of_a_block(at=0.3) == (200, 2)
    assert demand.of_a_block(at=1.4) == (0, 0)
