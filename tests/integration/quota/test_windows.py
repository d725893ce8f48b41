"""The quota windows in a real store, under simulated time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from quota.domain.classes import PriorityClass
from quota.domain.exchanges import Answered, Close, Failed, Place, Silent, Slow, Status, Want
from quota.gateways import windows
from quota.gateways.windows import Party
from tests.integration.quota.store import LIMITS, START, Client, Store

P0, P1, P2, P3 = PriorityClass
NO_WAIT = timedelta(0)


@pytest.fixture
def model(store: None) -> Store:
    return Store().begin()


async def drain(model: Store, priority_class: PriorityClass, *, seconds: int) -> int:
    """Ask for 100 tokens as often as it is granted, over so many seconds; return the tokens granted."""
    granted = 0
    for _ in range(seconds):
        while not await model.ask(priority_class, 100):
            granted += 100
        model.now += 1
    return granted


async def test_p3_takes_no_more_than_its_cap_of_an_idle_minute(model: Store) -> None:
    assert await drain(model, P3, seconds=60) == 2400


async def test_p1_takes_all_but_the_reserve_and_p0_takes_that_at_once(model: Store) -> None:
    assert await drain(model, P1, seconds=60) == 4200
    model.now -= 1
    assert await model.ask(P1, 100, Client())
    assert not await model.ask(P0, 1800)


async def test_p0_may_use_the_whole_limit_of_an_idle_minute_at_once(model: Store) -> None:
    assert not await model.ask(P0, 6000)


async def test_one_call_may_be_as_large_as_its_pool_when_nobody_else_calls(model: Store) -> None:
    assert not await model.ask(P3, 2400)


async def test_whoever_waits_as_long_as_told_is_let_in(model: Store) -> None:
    await drain(model, P3, seconds=20)
    wait = await model.ask(P3, 500)
    model.now += wait.total_seconds()

    assert wait
    assert not await model.ask(P3, 500)


async def test_the_same_exchange_acts_once_however_often_it_is_sent(model: Store) -> None:
    words = [Want(priority_class=P3, tokens=600, least_tokens=600)]
    party = Party(client="again", number=7, generation="")

    answers = [await windows.exchange(model.key, LIMITS, words, party, at=model.now) for _ in range(5)]

    assert len({str(answer) for answer in answers}) == 1
    assert windows.read({model.key: LIMITS}, at=model.now)[model.key].minute[P3].tokens == 600


async def test_what_was_used_beyond_the_reservation_is_charged_when_it_is_known(model: Store) -> None:
    await model.ask(P3, 100)
    await model.settle(model.calls[0], tokens=5000)

    assert await model.ask(P3, 1) > timedelta(seconds=58)
    assert await model.ask(P0, 1001)


async def test_a_refund_comes_too_late_to_be_spent_beside_what_followed(model: Store) -> None:
    await model.ask(P3, 600)
    model.now += 70
    await model.ask(P3, 600)
    await model.settle(model.calls[0], tokens=0, requests=0)

    assert await model.ask(P3, 1)


async def test_a_large_ask_is_not_passed_by_small_ones_of_another_process(model: Store) -> None:
    big, small = Client(), Client()
    await drain(model, P3, seconds=40)
    assert await model.ask(P3, 600, big)

    waited = 0
    while await model.ask(P3, 600, big):
        assert await model.ask(P3, 10, small)
        model.now += 0.25
        waited += 1
    assert 0 < waited < 4 * 61


async def test_a_process_that_does_not_come_back_does_not_hold_the_line_up(model: Store) -> None:
    await drain(model, P3, seconds=20)
    assert await model.ask(P3, 600, Client())
    model.now += 70

    assert not await model.ask(P3, 10, Client())


async def test_a_higher_class_that_waits_is_left_room_for(model: Store) -> None:
    await drain(model, P1, seconds=60)
    assert await model.ask(P1, 600, Client())

    assert await model.ask(P3, 10, Client())


async def test_of_one_exchange_the_higher_class_comes_first_and_nobody_passes_the_head(model: Store) -> None:
    sizes = ((P3, 500), (P3, 500), (P3, 50))
    answer = await model.say(*(Want(priority_class=word, tokens=size, least_tokens=size) for word, size in sizes))

    assert [verdict.status for verdict in answer.verdicts] == [Status.GRANTED, Status.FULL, Status.FULL]


async def test_a_block_takes_what_there_is_and_counts_until_a_minute_after_its_expiry(model: Store) -> None:
    want = Want(priority_class=P3, tokens=900, least_tokens=100, requests=9, least_requests=1, ahead=4)
    answer = await model.say(want)
    verdict = answer.verdicts[0]

    assert (verdict.tokens, verdict.requests, verdict.figure - answer.slot) == (600, 6, 4)
    model.now += 61.5
    assert windows.read({model.key: LIMITS}, at=model.now)[model.key].minute[P3].tokens == 600
    model.now += 2
    assert windows.read({model.key: LIMITS}, at=model.now)[model.key].minute[P3].tokens == 0


async def test_a_closed_block_gives_its_rest_back_once_and_what_it_used_counts_from_then(model: Store) -> None:
    answer = await model.say(Want(priority_class=P3, tokens=600, least_tokens=1, requests=6, least_requests=1, ahead=4))
    place = Place(answer.verdicts[0].figure, answer.slot, answer.generation)
    close = Close(priority_class=P3, place=place, tokens=600, requests=6, used_tokens=200, used_requests=2)
    model.now += 1
    await model.say(close)
    words, party, _ = model.me.last or pytest.fail("nothing was said")
    await windows.exchange(model.key, LIMITS, words, party, at=model.now)

    used = windows.read({model.key: LIMITS}, at=model.now)[model.key].minute[P3]
    assert (used.tokens, used.requests) == (200, 2)


DAYS = replace(LIMITS, tokens_per_day=10_000, day_zone="America/Los_Angeles")
A_DAY_S = 86_400


async def test_no_class_passes_its_part_of_the_day_and_the_day_ends_at_the_providers_midnight(store: None) -> None:
    model = Store(limits=DAYS).begin()
    granted = dict.fromkeys((P3, P1, P0), 0)
    for word in granted:
        while True:
            wait = await model.ask(word, 500)
            if not wait:
                granted[word] += 500
            elif wait > timedelta(minutes=2):
                break
            else:
                model.now += wait.total_seconds()

    assert granted == {P3: 4000, P1: 3000, P0: 3000}
    assert (model.now + wait.total_seconds()) % A_DAY_S == pytest.approx(8 * 3600, abs=1)
    model.now += wait.total_seconds()
    assert not await model.ask(P0, 500)


async def test_a_wiped_store_grants_nothing_and_says_so(store: None) -> None:
    wants = [Want(priority_class=P0, tokens=1, least_tokens=1)]

    assert await windows.exchange(Store().key, LIMITS, wants, Party(client="x", number=1, generation=""), at=START) is None


async def test_a_429_lowers_the_ceiling_for_all_and_shuts_until_retry_after(model: Store) -> None:
    await model.say(Slow(timedelta(seconds=20)))
    other = Client()

    assert (await model.want(P1, 10, other)).status is Status.SHUT
    assert (await model.want(P0, 10, other)).status is Status.SHUT
    model.now += 20
    assert not await model.ask(P1, 10, other)
    assert await model.ask(P1, 2400, other)
    reading = windows.read({model.key: LIMITS}, at=model.now)[model.key]
    assert reading.ceiling == pytest.approx(0.6, abs=0.01)


async def test_while_shut_one_probe_of_p0_goes_and_its_success_opens_again(model: Store) -> None:
    await model.say(Slow(timedelta(seconds=20)))
    model.now += 6

    assert (await model.want(P0, 10)).status is Status.PROBE
    assert (await model.want(P0, 10, Client())).status is Status.SHUT
    await model.say(Answered(is_probe=True))
    assert (await model.want(P1, 10, Client())).status is Status.GRANTED


async def test_the_ceiling_recovers_bit_by_bit(model: Store) -> None:
    await model.say(Slow(timedelta(seconds=1)))
    ceilings = []
    for _ in range(6):
        ceilings.append(windows.read({model.key: LIMITS}, at=model.now)[model.key].ceiling)
        model.now += 20

    assert ceilings == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], abs=0.002)


async def broken(model: Store) -> None:
    for _ in range(5):
        await model.say(Failed())


async def test_five_failures_in_a_row_open_the_breaker_for_all_and_one_probe_closes_it(model: Store) -> None:
    await broken(model)

    assert (await model.want(P0, 10, Client())).status is Status.OPEN
    model.now += 5
    assert (await model.want(P3, 10)).status is Status.PROBE
    assert (await model.want(P0, 10, Client())).status is Status.OPEN
    await model.say(Answered(is_probe=True))
    assert (await model.want(P0, 10, Client())).status is Status.GRANTED


async def test_a_probe_that_fails_opens_the_breaker_for_longer(model: Store) -> None:
    await broken(model)
    model.now += 5
    await model.want(P1, 10)
    await model.say(Failed(is_probe=True))
    model.now += 9

    assert (await model.want(P1, 10)).status is Status.OPEN
    model.now += 1
    assert (await model.want(P1, 10)).status is Status.PROBE


async def test_a_probe_without_a_word_makes_way_for_another(model: Store) -> None:
    await broken(model)
    model.now += 5
    await model.want(P1, 10)
    await model.say(Silent())

    assert (await model.want(P1, 10)).status is Status.PROBE


async def test_failures_with_an_answer_between_or_far_apart_open_nothing(model: Store) -> None:
    for word in (Failed(), Failed(), Failed(), Failed(), Answered(), Failed()):
        await model.say(word)
    for _ in range(4):
        model.now += 16
        await model.say(Failed())

    assert (await model.want(P1, 10)).status is Status.GRANTED


async def test_a_clock_that_goes_back_opens_nothing(model: Store) -> None:
    """As after a failover to a machine whose clock is behind: what was granted is still in the minute."""
    assert not await model.ask(P0, 6000)
    model.now -= 600

    assert await model.ask(P0, 100)
    model.now += 610
    assert await model.ask(P0, 100)


async def test_what_is_granted_while_the_clock_is_behind_counts(model: Store) -> None:
    assert not await model.ask(P0, 100)
    model.now -= 600

    assert not await model.ask(P0, 5900)
    assert await model.ask(P0, 100)
