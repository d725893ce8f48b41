"""A tenant's day: set aside before each call for all processes at once, settled after it, begun again from the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings as configured
from pytest_django import DjangoAssertNumQueries, Settings

from quota import selectors
from quota.domain import silences
from quota.domain.budgets import NONE, Spending
from quota.domain.classes import PriorityClass
from quota.domain.days import DayHold, DayLimits, day_of
from quota.domain.errors import DaySpent, DayTokensSpent, QuotaExceeded, QuotaStoreUnavailable
from quota.gateways import connection, day_counts
from quota.models import Plan, Tenant
from quota.services import days, ledger, plans
from tests.integration.quota.lines import a_line
from tests.proxy import Proxy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]
CENT = Decimal("0.01")
CALL = Spending(Decimal("0.003"), 100, 1)


@pytest.fixture(autouse=True)
def known_anew() -> None:
    plans.forget()
    days._local.clear()
    days._late.clear()


def a_tenant(**terms: object) -> UUID:
    plan = Plan.objects.create(name=f"plan-{uuid4().hex[:20]}", requests_per_minute=1_000, **terms)
    return Tenant.objects.create(name=f"tenant {uuid4()}", plan=plan).pk


async def nothing_under_way() -> Spending:
    return NONE


async def take(tenant: UUID, amount: Spending = CALL, priority_class: PriorityClass = PriorityClass.P1) -> DayHold | None:
    return await days.take(tenant, amount, priority_class=priority_class, under_way=nothing_under_way, hold_id=uuid4())


async def taken(tenant: UUID) -> bool:
    try:
        await take(tenant)
    except QuotaExceeded:
        return False
    return True


def book(tenant: UUID, usd: str, *, at: datetime | None = None) -> None:
    ledger.append([a_line(tenant_id=tenant, cost_usd=Decimal(usd), at=at or datetime.now(UTC))])


def counted(tenant: UUID) -> Spending | None:
    [found] = day_counts.read([(tenant, day_of(datetime.now(UTC)))])
    return None if found is None else found.used


async def test_two_hundred_calls_at_once_against_the_last_cent_of_the_day_take_at_most_that_cent() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)

    assert sum(await asyncio.gather(*(taken(tenant) for _ in range(200)))) == 3


async def test_a_refusal_says_what_is_spent_and_when_the_next_day_begins() -> None:
    tenant = await sync_to_async(a_tenant)(daily_tokens=150)
    await days.settle(await take(tenant), CALL)

    with pytest.raises(DayTokensSpent) as refusal:
        await take(tenant)
    assert refusal.value.facts == {"limit": 150, "used": 100}
    assert refusal.value.retry_after is not None
    assert day_of(datetime.now(UTC) + refusal.value.retry_after) > day_of(datetime.now(UTC) - timedelta(seconds=5))


async def test_a_plan_without_a_limit_of_a_day_is_not_counted() -> None:
    tenant = await sync_to_async(a_tenant)()

    assert await take(tenant, CALL.times(10**6)) is None


async def test_what_was_not_used_may_be_taken_again_and_what_was_used_beyond_counts() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)
    first, second = await take(tenant), await take(tenant)
    await days.settle(first, Spending(Decimal("0.001"), 10, 1))
    await days.settle(second, Spending(Decimal("0.004"), 10, 1))

    assert await sync_to_async(counted)(tenant) == Spending(Decimal("0.005"), 20)
    await days.release(await take(tenant))
    assert await sync_to_async(counted)(tenant) == Spending(Decimal("0.005"), 20)


async def test_a_hold_whose_process_vanished_lapses() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)
    limits, day = DayLimits(CENT, None), day_of(datetime.now(UTC))
    await take(tenant, CALL.times(3))
    later = datetime.now(UTC).timestamp() + day_counts.HOLD_LIFE_S + 60

    held = await day_counts.take(DayHold(uuid4(), tenant, day, CALL.times(2)), limits=limits)
    lapsed = await day_counts.take(DayHold(uuid4(), tenant, day, CALL.times(2)), limits=limits, at=later)

    assert (held.is_busy, lapsed.is_busy) == (True, False)


async def test_the_same_hold_is_taken_once() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)
    await take(tenant)
    hold = DayHold(uuid4(), tenant, day_of(datetime.now(UTC)), CALL)
    for _ in range(5):
        assert (await day_counts.take(hold, limits=DayLimits(CENT, None))).lacking is None

    assert await sync_to_async(counted)(tenant) == Spending(Decimal("0.006"), 200)


async def test_after_a_wipe_the_count_begins_from_the_ledger_and_what_is_under_way() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)
    await take(tenant)
    await sync_to_async(book)(tenant, "0.002")
    await sync_to_async(book)(tenant, "5.00", at=datetime.now(UTC) - timedelta(days=1))
    with redis.Redis.from_url(configured.REDIS_URL) as store:
        store.flushdb()

    async def under_way() -> Spending:
        return Spending(Decimal("0.004"), 0)

    await days.take(tenant, CALL, priority_class=PriorityClass.P1, under_way=under_way, hold_id=uuid4())
    assert (await sync_to_async(counted)(tenant) or NONE).usd == Decimal("0.009")
    assert not await taken(tenant)


async def test_what_was_under_way_at_the_wipe_lapses_once_it_must_be_in_the_ledger() -> None:
    tenant, day = await sync_to_async(a_tenant)(daily_usd=CENT), day_of(datetime.now(UTC))
    await day_counts.fill(tenant, day, used=NONE, under_way=Spending(CENT, 0))
    later = datetime.now(UTC).timestamp() + day_counts.UNDER_WAY_S + 5
    hold = DayHold(uuid4(), tenant, day, CALL)

    assert (await day_counts.take(hold, limits=DayLimits(CENT, None))).is_busy
    assert not (await day_counts.take(hold, limits=DayLimits(CENT, None), at=later)).is_busy


async def test_a_changed_plan_counts_within_five_seconds() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)
    await take(tenant, CALL.times(3))
    await sync_to_async(Plan.objects.filter(tenants=tenant).update)(daily_usd=Decimal("0.02"))
    assert plans.FRESH_S < 5
    plans._known[tenant] = (plans._known[tenant][0] - plans.FRESH_S, plans._known[tenant][1])

    assert await take(tenant) is not None


async def test_without_the_store_p0_goes_on_under_a_quarter_of_what_the_ledger_says_is_left(settings: Settings, nowhere: str) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal("0.05"))
    await sync_to_async(book)(tenant, "0.01")
    await connection.aclose()
    settings.REDIS_URL = nowhere
    calls = [await _by_p0(tenant) for _ in range(5)]

    assert calls == [True, True, True, False, False]
    with pytest.raises(QuotaStoreUnavailable):
        await take(tenant)


async def _by_p0(tenant: UUID) -> bool:
    try:
        hold = await take(tenant, priority_class=PriorityClass.P0)
    except DaySpent:
        return False
    return hold is not None and hold.is_local


async def test_what_was_settled_while_the_store_was_away_is_told_when_it_is_back(settings: Settings, nowhere: str) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal("0.05"))
    await take(tenant)
    here = settings.REDIS_URL
    await connection.aclose()
    settings.REDIS_URL = nowhere
    hold = await take(tenant, priority_class=PriorityClass.P0)
    await days.settle(hold, Spending(Decimal("0.002"), 50, 1))
    await connection.aclose()
    settings.REDIS_URL = here
    await take(tenant)

    assert await sync_to_async(counted)(tenant) == Spending(Decimal("0.008"), 250)


async def test_calls_of_p0_go_on_while_the_store_hangs_and_what_they_used_is_told_later(
    way: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal(10))
    await days.settle(await take(tenant), CALL)
    with monkeypatch.context() as never:
        never.setattr(silences, "REST_S", 600.0)
        way.freeze()
        before = way.accepted
        for _ in range(30):
            hold = await take(tenant, priority_class=PriorityClass.P0)
            assert hold is not None
            assert hold.is_local
            await days.settle(hold, CALL)
        assert way.accepted - before <= 1
        silences.of(configured.REDIS_URL).heard(at=time.monotonic())
    await _told_late(way, tenant)

    assert await sync_to_async(counted)(tenant) == CALL.times(31)._replace(calls=0)


@pytest.mark.parametrize("act", ["take", "settle"])
async def test_neither_taking_nor_settling_of_p0_waits_as_long_as_a_store_that_hangs_may_take(
    way: Proxy, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal(10))
    monkeypatch.setitem(connection.BOUNDS, "socket_timeout", 60.0)
    hold = await take(tenant, priority_class=PriorityClass.P0)
    way.freeze()
    asked = take(tenant, priority_class=PriorityClass.P0) if act == "take" else days.settle(hold, CALL)

    await asyncio.wait_for(asked, 20)


async def test_p0_waits_for_a_store_that_is_slow_and_answers_others(way: Proxy) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal(10))
    await days.settle(await take(tenant), CALL)
    way.delay(0.3)
    taking = asyncio.create_task(take(tenant, priority_class=PriorityClass.P0))
    while not taking.done():
        silences.of(configured.REDIS_URL).heard(at=time.monotonic())
        await asyncio.sleep(0.02)
    hold = taking.result()

    assert hold is not None
    assert not hold.is_local


async def test_whoever_meets_only_calls_under_way_gets_in_once_they_are_settled() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)
    first = await take(tenant, CALL.times(3))
    with pytest.raises(QuotaExceeded):
        await take(tenant)
    await days.settle(first, CALL)

    assert await take(tenant) is not None


async def test_what_is_told_to_be_settled_twice_counts_once() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)
    hold = await take(tenant)
    await days.settle(hold, CALL)
    await days.settle(hold, CALL)

    assert await sync_to_async(counted)(tenant) == CALL._replace(calls=0)


async def test_what_was_settled_but_not_booked_at_a_wipe_counts_once_it_is_booked() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal("0.05"))
    await days.settle(await take(tenant), CALL)
    with redis.Redis.from_url(configured.REDIS_URL) as store:
        store.flushdb()
    await take(tenant)
    assert await sync_to_async(counted)(tenant) == CALL._replace(calls=0)

    await sync_to_async(book)(tenant, "0.02")
    await sync_to_async(days.raise_to_ledger)(now=datetime.now(UTC))
    booked_tokens = a_line().input_tokens + a_line().output_tokens
    assert await sync_to_async(counted)(tenant) == Spending(Decimal("0.023"), booked_tokens + CALL.tokens)


async def test_a_raise_to_the_ledger_lowers_nothing_and_begins_no_count() -> None:
    counts, uncounted = await sync_to_async(a_tenant)(daily_usd=CENT), await sync_to_async(a_tenant)(daily_usd=CENT)
    await days.settle(await take(counts), Spending(Decimal("0.008"), 10_000))
    for tenant in (counts, uncounted):
        await sync_to_async(book)(tenant, "0.001")
    for _ in range(2):
        await sync_to_async(days.raise_to_ledger)(now=datetime.now(UTC))

    assert await sync_to_async(counted)(counts) == Spending(Decimal("0.008"), 10_000)
    assert await sync_to_async(counted)(uncounted) is None


async def test_a_settlement_whose_caller_is_cancelled_is_told_later(way: Proxy) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal("0.05"))
    hold = await take(tenant)
    way.freeze()
    settling = asyncio.create_task(days.settle(hold, Spending(Decimal("0.001"), 10)))
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.wait([settling])
    await _told_late(way, tenant)

    assert await sync_to_async(counted)(tenant) == Spending(Decimal("0.001"), 10)


async def test_what_is_told_late_is_not_lost_where_the_teller_is_cancelled(way: Proxy) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal("0.05"))
    hold = await take(tenant)
    way.refuse()
    way.cut()
    await days.settle(hold, Spending(Decimal("0.001"), 10))
    way.accept()
    way.freeze()
    telling = asyncio.create_task(days._tell())
    await asyncio.sleep(0)
    telling.cancel()
    await asyncio.wait([telling])
    await _told_late(way, tenant)

    assert await sync_to_async(counted)(tenant) == Spending(Decimal("0.001"), 10)


async def test_what_was_set_aside_for_a_caller_that_was_cancelled_before_it_heard_of_it_is_given_back(way: Proxy) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal("0.05"))
    await days.release(await take(tenant))
    way.delay(0.4)
    taking = asyncio.create_task(take(tenant))
    while await sync_to_async(counted)(tenant) != CALL._replace(calls=0):  # noqa: ASYNC110  (the store does it)
        await asyncio.sleep(0.02)
    taking.cancel()
    await asyncio.wait([taking])
    way.delay(0.0)
    assert taking.cancelled()
    await _told_late(way, tenant)

    assert await sync_to_async(counted)(tenant) == NONE


async def test_a_cancellation_that_the_client_swallows_is_not_lost() -> None:
    async def asks() -> None:
        with connection.answering(), suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    asking = asyncio.create_task(asks())
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])

    assert asking.cancelled()


async def test_after_an_outage_the_store_is_told_once_in_pages_however_many_calls_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=Decimal(100))
    await days.release(await take(tenant))
    day, used = day_of(datetime.now(UTC)), Spending(Decimal("0.001"), 10)
    for _ in range(1_200):
        days._late.keep(DayHold(uuid4(), tenant, day, CALL), used)
    pages: list[int] = []
    settle_all = day_counts.settle_all

    async def heard(settled: Sequence[tuple[DayHold, Spending]]) -> None:
        pages.append(len(settled))
        await settle_all(settled)

    monkeypatch.setattr(day_counts, "settle_all", heard)
    await asyncio.gather(*(take(tenant) for _ in range(50)))

    assert pages == [500, 500, 200]
    assert not days._late
    assert await sync_to_async(counted)(tenant) == (used.times(1_200) + CALL.times(50))._replace(calls=0)


async def test_nobody_waits_for_what_is_told_late_of_other_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant, other = await sync_to_async(a_tenant)(daily_usd=CENT), await sync_to_async(a_tenant)(daily_usd=CENT)
    days._late.keep(DayHold(uuid4(), other, day_of(datetime.now(UTC)), CALL), CALL)
    never = asyncio.Event()

    async def stuck(_: object) -> None:
        await never.wait()

    monkeypatch.setattr(day_counts, "settle_all", stuck)
    assert await asyncio.wait_for(take(tenant), 20) is not None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(take(other), 0.2)


async def test_the_next_outage_of_the_day_does_not_count_again_what_is_in_the_ledger(
    settings: Settings, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each outage spends what it may and no more: the first three calls, the second a quarter of what is left then."""
    tenant, here = await sync_to_async(a_tenant)(daily_usd=Decimal("0.04")), settings.REDIS_URL
    monkeypatch.setattr("quota.domain.late.BOOKED_S", 0.0)
    await days.release(await take(tenant))
    await connection.aclose()
    settings.REDIS_URL = nowhere
    holds = [await take(tenant, priority_class=PriorityClass.P0) for _ in range(3)]
    assert not await _by_p0(tenant)
    for hold in holds:
        await days.settle(hold, CALL)
    await connection.aclose()
    settings.REDIS_URL = here
    await days.release(await take(tenant))
    await sync_to_async(book)(tenant, "0.009")
    await connection.aclose()
    settings.REDIS_URL = nowhere

    assert [await _by_p0(tenant) for _ in range(3)] == [True, True, False]


async def test_a_hundred_calls_of_a_tenant_at_once_read_its_plan_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant, reads, read = await sync_to_async(a_tenant)(daily_usd=CENT), [], selectors.day_limits_of

    def heard(tenant_ids: Sequence[UUID]) -> Mapping[UUID, DayLimits]:
        reads.append(tenant_ids)
        return read(tenant_ids)

    monkeypatch.setattr(selectors, "day_limits_of", heard)
    found = await asyncio.gather(*(plans.day_limits(tenant) for _ in range(100)))

    assert set(found) == {DayLimits(CENT)}
    assert reads == [[tenant]]


async def test_whoever_is_cancelled_while_a_plan_is_read_takes_it_from_nobody() -> None:
    tenant = await sync_to_async(a_tenant)(daily_usd=CENT)
    first, second = (asyncio.create_task(plans.day_limits(tenant)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == DayLimits(CENT)


def test_a_process_knows_no_more_plans_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST_KNOWN", 2)
    for _ in range(5):
        assert plans.day_limits_now(a_tenant(daily_usd=CENT)) == DayLimits(CENT)
        assert len(plans._known) <= 2


def test_the_days_of_many_tenants_are_read_with_one_query_and_in_one_exchange(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    spent, fresh, free = a_tenant(daily_usd=CENT), a_tenant(daily_tokens=100), a_tenant()
    now, reads, read = datetime.now(UTC), [], day_counts.read
    day_counts.fill_now(spent, day_of(now), used=Spending(Decimal("0.008"), 5), under_way=Spending(Decimal("0.001"), 5))

    def heard(asked: Sequence[tuple[UUID, date]]) -> list[day_counts.Count | None]:
        reads.append(len(asked))
        return read(asked)

    monkeypatch.setattr(day_counts, "read", heard)
    with django_assert_num_queries(1):
        found = days.left_of_many([spent, fresh, free], now=now)

    assert reads == [2]
    assert found == {spent: DayLimits(Decimal("0.002")), fresh: DayLimits(tokens=100), free: DayLimits()}
    assert days.left_of(spent, now=now) == DayLimits(Decimal("0.002"))


async def _told_late(way: Proxy, tenant: UUID) -> None:
    """Let the store be heard again, and the next call of the tenant come and go."""
    way.thaw()
    way.cut()
    await connection.aclose()
    hold = None
    async with asyncio.timeout(20):
        while hold is None:
            await asyncio.sleep(0.1)
            with suppress(QuotaStoreUnavailable):
                hold = await take(tenant)
    await days.release(hold)
