"""Each guard of the window by itself: what the machine meets only with luck."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from quota.domain.classes import PriorityClass
from quota.domain.exchanges import Change, Close, Failed, Place, Slow, Want
from quota.gateways import connection, windows
from quota.gateways.windows import ByClass, Reading, Used
from tests.integration.quota.store import LIMITS, START, Store

P0, P1, P2, P3 = PriorityClass
LONGEST_S, SHORTEST_S = 61.0, 60.5
"""For so long at most, and at least, what was granted counts: a minute, and half a second for the way to the provider."""
A_MOMENT_S = 0.01
USED: ByClass = {**windows.NOTHING, P1: Used(500, 5), P3: Used(300, 3)}


@pytest.fixture
def model(store: None) -> Store:
    return Store().begin()


def reading(model: Store) -> Reading:
    return windows.read({model.key: LIMITS}, at=model.now)[model.key]


@pytest.mark.parametrize("into_its_slot", [0.0, windows.SLOT_S - A_MOMENT_S])
async def test_what_was_granted_counts_for_a_minute_and_half_a_second_wherever_in_its_slot_it_was(
    model: Store, into_its_slot: float
) -> None:
    model.now = START + into_its_slot
    assert not await model.ask(P0, LIMITS.tokens_per_minute)
    at_least = START + into_its_slot + SHORTEST_S
    model.now = min(at_least, START + LONGEST_S - A_MOMENT_S)
    assert await model.ask(P0, 1)

    model.now = START + LONGEST_S
    assert not await model.ask(P0, 1)


async def test_what_leaves_the_minute_is_let_in_again_and_not_before(model: Store) -> None:
    """The whole minute is granted at its beginning: until it has left, not one token more, whenever that is asked for."""
    assert not await model.ask(P0, LIMITS.tokens_per_minute)
    for tenth in range(1, round(LONGEST_S * 10)):
        model.now = START + tenth / 10
        assert await model.ask(P0, 1), tenth


async def test_p3_never_passes_its_cap_in_a_minute_though_all_else_is_idle(model: Store) -> None:
    granted = 0
    while model.now < START + 59:
        if await model.ask(P3, 100):
            model.now += 1
        else:
            granted += 100

    assert granted == reading(model).minute[P3].tokens == LIMITS.tokens_per_minute * LIMITS.p3_cap
    assert not await model.ask(P1, 600)


async def test_a_block_counts_from_its_expiry_and_not_from_its_grant(model: Store) -> None:
    slots = 10
    answer = await model.say(Want(priority_class=P3, tokens=600, least_tokens=600, ahead=slots))
    assert answer.verdicts[0].figure == answer.slot + slots
    model.now = START + LONGEST_S + slots * windows.SLOT_S - A_MOMENT_S
    assert reading(model).minute[P3].tokens == 600

    model.now += A_MOMENT_S
    assert reading(model).minute[P3].tokens == 0


async def rebuilt(model: Store) -> Place:
    """Grant P1 and P3 something, wipe the store, and rebuild it in the same slot; return where it had stood."""
    answer = await model.say(*(Want(priority_class=word, tokens=300, least_tokens=300) for word in (P1, P3)))
    connection.in_threads().delete(f"{{quota}}:model:{model.key[0]}/{model.key[1]}")
    windows.rebuild(model.key, generation=uuid4().hex, day=START - 3600, minute=USED, today=USED, at=model.now)
    return Place(answer.slot, answer.slot, answer.generation)


async def test_a_refund_of_before_a_wipe_takes_nothing_off_what_the_rebuild_counted(model: Store) -> None:
    place = await rebuilt(model)
    before = reading(model)
    await model.say(Change(priority_class=P1, place=place, tokens=-300, requests=-1))

    assert (reading(model).minute, reading(model).day) == (before.minute, before.day) == (USED, USED)


async def test_the_end_of_a_block_of_before_a_wipe_moves_nothing_of_what_the_rebuild_counted(model: Store) -> None:
    place = await rebuilt(model)
    before = reading(model)
    await model.say(Close(priority_class=P3, place=place, tokens=300, requests=3, used_tokens=200, used_requests=2))

    assert (reading(model).minute, reading(model).day) == (before.minute, before.day) == (USED, USED)


async def test_a_charge_of_before_a_wipe_still_counts(model: Store) -> None:
    """Only what gives back is of the past: what was used on top was used."""
    place = await rebuilt(model)
    await model.say(Change(priority_class=P1, place=place, tokens=50, requests=0))

    assert reading(model).minute[P1].tokens == USED[P1].tokens + 50


TEN_DAYS = timedelta(seconds=10**6)
FIVE_MINUTES_S = 300


async def test_two_429s_of_one_moment_lower_the_ceiling_once(model: Store) -> None:
    await model.want(P1, 10)
    await model.say(Slow(timedelta(seconds=1)))
    once = reading(model).ceiling
    model.now += 1
    await model.say(Slow(timedelta(seconds=1)))
    assert once < 1
    assert once <= reading(model).ceiling < once + 0.02

    model.now += 1.5
    await model.say(Slow(timedelta(seconds=1)))
    assert reading(model).ceiling < once


async def test_no_word_of_the_provider_shuts_its_model_for_more_than_five_minutes(model: Store) -> None:
    await model.say(Slow(TEN_DAYS))
    assert await model.ask(P1, 10)
    model.now += FIVE_MINUTES_S - 1
    assert await model.ask(P1, 10)
    model.now += 2

    assert not await model.ask(P1, 10)


async def test_no_outage_is_waited_out_for_more_than_five_minutes_whatever_the_provider_says(model: Store) -> None:
    for _ in range(5):
        await model.say(Failed(retry_after=TEN_DAYS))
    assert await model.ask(P1, 10)
    model.now += FIVE_MINUTES_S - 1
    assert await model.ask(P1, 10)
    model.now += 2

    assert not await model.ask(P1, 10)
