"""A quota store that is gone, hangs, or was wiped: p0 goes on by a small share, the others wait, nothing starts from empty."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async

from quota.domain.asks import Ask, Grant, Source
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaExceeded, QuotaStoreUnavailable
from quota.domain.limits import Limits
from quota.gateways import connection, locks, windows
from quota.models import LedgerEntry, ModelQuota, ModelUse
from quota.services import admission
from quota.services.store_sight import FORGOTTEN_AFTER, look_after
from tests.proxy import Proxy

pytestmark = pytest.mark.django_db(transaction=True)
P0, P1, P2, P3 = PriorityClass
AT_ONCE, PATIENT = timedelta(0), timedelta(seconds=30)
LIMITS = Limits(tokens_per_minute=40_000, requests_per_minute=4000, p0_reserved=0.3, p3_cap=0.4, tokens_per_day=1_000_000)


@pytest.fixture
def model() -> str:
    name = uuid4().hex
    terms = {"tokens_per_minute": 40_000, "requests_per_minute": 4000, "p0_reserved": 0.3, "p3_cap": 0.4, "tokens_per_day": 1_000_000}
    ModelQuota.objects.create(provider="test", model=name, **terms)
    return name


def ask(model: str, tokens: int, priority_class: PriorityClass) -> Ask:
    return Ask(provider="test", model=model, priority_class=priority_class, tokens=tokens, tenant=UUID(int=0))


async def reserved(model: str, tokens: int, word: PriorityClass) -> Grant:
    """Reserve at the store, however long a first look takes on a busy machine, and let nothing go on behind."""
    while True:
        grant = await admission.reserve(ask(model, tokens, word), patience=PATIENT)
        await admission.rest()
        if grant.source is Source.STORE:
            return grant
        await admission.release(grant)
        await asyncio.sleep(0.2)  # each look takes of the process's own share


def wipe(model: str) -> None:
    """Lose all that the store knows of the model, as a FLUSHALL does."""
    connection.in_threads().delete(*connection.in_threads().keys(f"{{quota}}:*:test/{model}*"))


def reading(model: str) -> windows.Reading:
    return windows.read({("test", model): LIMITS})["test", model]


def booked(model: str, tokens: int, priority_class: PriorityClass, *, at: datetime) -> None:
    LedgerEntry.objects.create(
        tenant_id=uuid4(),
        endpoint="trial@1",
        mode="async-queue",
        priority_class=priority_class,
        run_id=uuid4(),
        parent_kind="job",
        parent_id="x",
        provider="test",
        model=model,
        input_tokens=tokens,
        output_tokens=0,
        cached_tokens=0,
        cost_usd=Decimal(0),
        estimated=False,
        at=at,
    )


async def test_a_store_that_hangs_costs_one_call_of_p0_a_moment_and_the_next_ones_nothing(way: Proxy, store: None, model: str) -> None:
    await reserved(model, 10, P0)
    way.freeze()
    async with asyncio.timeout(20):
        grants = [await admission.reserve(ask(model, 10, P0), patience=PATIENT) for _ in range(100)]

    assert {grant.source for grant in grants} == {Source.LOCAL}


async def test_whoever_is_no_p0_waits_for_a_store_that_hangs_and_gets_in_when_it_is_back(way: Proxy, store: None, model: str) -> None:
    await reserved(model, 10, P0)
    way.freeze()
    waiting = [asyncio.create_task(admission.reserve(ask(model, 10, word), patience=PATIENT)) for word in (P1, P2, P3)]
    assert (await admission.reserve(ask(model, 10, P0), patience=PATIENT)).source is Source.LOCAL
    assert not any(task.done() for task in waiting)
    way.thaw()
    way.cut()

    assert {(await task).source for task in waiting} == {Source.STORE}


async def test_what_p0_used_meanwhile_is_charged_when_the_store_is_back(way: Proxy, store: None, model: str) -> None:
    await reserved(model, 10, P0)
    way.refuse()
    way.cut()
    grant = await admission.reserve(ask(model, 100, P0), patience=PATIENT)
    await admission.settle(grant, used_tokens=70)
    way.accept()
    await admission.reserve(ask(model, 10, P1), patience=PATIENT)

    assert grant.source is Source.LOCAL
    found = await sync_to_async(reading)(model)
    assert (found.minute[P0].tokens, found.day[P0].tokens) == (80, 80)


async def test_a_settlement_on_top_of_the_reservation_is_not_lost_while_the_store_is_away(way: Proxy, store: None, model: str) -> None:
    grant = await reserved(model, 10, P1)
    way.refuse()
    way.cut()
    await admission.settle(grant, used_tokens=500)
    with pytest.raises(QuotaStoreUnavailable):
        await admission.reserve(ask(model, 10, P1), patience=AT_ONCE)
    way.accept()
    await admission.reserve(ask(model, 10, P1), patience=PATIENT)

    assert (await sync_to_async(reading)(model)).minute[P1].tokens == 510


async def test_a_wiped_store_is_no_idle_one(store: None, model: str) -> None:
    await reserved(model, 12_000, P3)
    await sync_to_async(ModelUse.objects.update)(seen_at=datetime.now(UTC) - timedelta(seconds=12))
    await sync_to_async(look_after)(("test", model), LIMITS, now=datetime.now(UTC))
    await sync_to_async(wipe)(model)

    with pytest.raises(QuotaExceeded):
        await admission.reserve(ask(model, 2000, P3), patience=AT_ONCE)
    found = await sync_to_async(reading)(model)
    assert found.minute[P3].tokens == 16_000
    assert (await admission.reserve(ask(model, 12_000, P0), patience=AT_ONCE)).source is Source.STORE


async def test_a_model_that_nobody_used_lately_starts_with_an_idle_minute_after_a_wipe(store: None, model: str) -> None:
    await reserved(model, 12_000, P3)
    await sync_to_async(ModelUse.objects.update)(seen_at=datetime.now(UTC) - FORGOTTEN_AFTER)
    await sync_to_async(wipe)(model)

    assert (await admission.reserve(ask(model, 4000, P3), patience=AT_ONCE)).source is Source.STORE


async def test_the_day_of_a_wiped_store_is_what_the_ledger_says(store: None, model: str) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await asyncio.sleep(max(0.0, 62 - (datetime.now(UTC) - midnight).total_seconds()))  # what is booked at midnight is of no minute now
    await sync_to_async(booked)(model, 399_000, P3, at=midnight)
    await sync_to_async(booked)(model, 1_000, P3, at=midnight - timedelta(seconds=1))

    with pytest.raises(QuotaExceeded) as refusal:
        await admission.reserve(ask(model, 1001, P3), patience=AT_ONCE)
    assert refusal.value.retry_after
    assert refusal.value.retry_after > midnight + timedelta(days=1) - datetime.now(UTC) - timedelta(minutes=1)
    assert (await admission.reserve(ask(model, 1000, P3), patience=AT_ONCE)).source is Source.STORE


async def test_a_day_is_raised_to_what_was_booked_later(store: None, model: str) -> None:
    await reserved(model, 10, P3)
    await sync_to_async(booked)(model, 5_000, P1, at=datetime.now(UTC))
    connection.in_threads().delete(f"{{quota}}:reconcile:test/{model}")
    await sync_to_async(look_after)(("test", model), LIMITS, now=datetime.now(UTC))

    found = await sync_to_async(reading)(model)
    assert (found.day[P1].tokens, found.day[P3].tokens, found.minute[P1].tokens) == (5_000, 10, 0)


async def test_what_was_granted_before_a_wipe_gives_nothing_back_after_it(store: None, model: str) -> None:
    grant = await reserved(model, 4000, P3)
    await sync_to_async(wipe)(model)
    await reserved(model, 10, P0)
    before = (await sync_to_async(reading)(model)).minute[P3].tokens
    await admission.release(grant)
    await admission.rest()

    assert before >= 4000
    assert (await sync_to_async(reading)(model)).minute[P3].tokens == before


async def test_many_calls_after_a_wipe_rebuild_once_and_all_go_on(store: None, model: str) -> None:
    await reserved(model, 10, P1)
    await sync_to_async(wipe)(model)
    grants = await asyncio.gather(*(admission.reserve(ask(model, 10, word), patience=PATIENT) for word in [P0, P1] * 20))

    assert len(grants) == 40


async def test_whoever_looks_at_a_wiped_store_neither_notes_an_idle_minute_nor_sets_one_up(store: None, model: str) -> None:
    await reserved(model, 12_000, P3)
    await sync_to_async(look_after)(("test", model), LIMITS, now=datetime.now(UTC) + timedelta(seconds=12))
    await sync_to_async(wipe)(model)
    await sync_to_async(look_after)(("test", model), LIMITS, now=datetime.now(UTC) + timedelta(seconds=24))

    noted = await sync_to_async(ModelUse.objects.get)(model=model)
    assert noted.used["p3"] == [12_000, 1]
    assert not (await sync_to_async(reading)(model)).is_known


async def test_a_rebuild_keeps_its_lock_for_as_long_as_it_works_and_lets_go_of_it(store: None, model: str) -> None:
    def times_to_live() -> int:
        return int(connection.in_threads().pttl(f"{{quota}}:rebuild:test/{model}"))

    def work() -> bool:
        with locks.alone(f"rebuild:test/{model}", for_s=3.0) as is_ours:
            lives, end = [times_to_live()], time.monotonic() + 20
            while lives == sorted(lives, reverse=True) and time.monotonic() < end:
                time.sleep(0.05)
                lives.append(times_to_live())
            with locks.alone(f"rebuild:test/{model}", for_s=3.0) as is_anothers:
                return is_ours and not is_anothers and lives != sorted(lives, reverse=True)

    assert await asyncio.to_thread(work)
    assert not connection.in_threads().exists(f"{{quota}}:rebuild:test/{model}")
