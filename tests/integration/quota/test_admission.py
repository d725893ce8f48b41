"""Admission of model calls: patience, classes, live limits, and a store that is away."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django import db
from pytest_django import Settings

from quota.domain.asks import Ask, Source
from quota.domain.classes import PriorityClass
from quota.domain.errors import CanNeverFit, QuotaExceeded, QuotaStoreUnavailable
from quota.gateways import connection
from quota.models import ModelQuota
from quota.services import admission, limits

AT_ONCE = timedelta(0)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model() -> str:
    """A model with a quota of 4,000 tokens a minute: in ten seconds p1 may take 700 of its 2,800, p3 400 of its 1,600."""
    name = uuid4().hex
    ModelQuota.objects.create(provider="test", model=name, tokens_per_minute=4000, requests_per_minute=400, p0_reserved=0.3, p3_cap=0.4)
    return name


def _ask(model: str, tokens: int, priority_class: PriorityClass = PriorityClass.P1) -> Ask:
    return Ask(provider="test", model=model, priority_class=priority_class, tokens=tokens, tenant=UUID(int=0))


async def test_a_call_within_the_quota_is_granted_at_once(store: None, model: str) -> None:
    grant = await admission.reserve(_ask(model, 700), patience=AT_ONCE)

    assert (grant.source, grant.tokens) == (Source.STORE, 700)


async def test_a_wait_beyond_the_callers_patience_is_refused_with_its_length(store: None, model: str) -> None:
    await admission.reserve(_ask(model, 700), patience=AT_ONCE)

    with pytest.raises(QuotaExceeded) as refusal:
        await admission.reserve(_ask(model, 1), patience=timedelta(seconds=2))
    assert refusal.value.retry_after is not None
    assert timedelta(seconds=2) < refusal.value.retry_after <= timedelta(seconds=11)


async def test_whoever_is_patient_gets_in_when_the_burst_is_over(store: None, model: str) -> None:
    await admission.reserve(_ask(model, 700), patience=AT_ONCE)

    grant = await admission.reserve(_ask(model, 700), patience=timedelta(seconds=30))

    assert grant.tokens == 700


async def test_two_hundred_parallel_calls_get_no_more_than_the_quota(store: None, model: str) -> None:
    asks = [admission.reserve(_ask(model, 30), patience=AT_ONCE) for _ in range(200)]
    answers = await asyncio.gather(*asks, return_exceptions=True)

    assert sum(not isinstance(answer, BaseException) for answer in answers) == 23
    assert all(isinstance(answer, QuotaExceeded) for answer in answers if isinstance(answer, BaseException))


async def test_p0_passes_where_p3_has_spent_its_cap(store: None, model: str) -> None:
    await admission.reserve(_ask(model, 400, PriorityClass.P3), patience=AT_ONCE)
    with pytest.raises(QuotaExceeded):
        await admission.reserve(_ask(model, 1, PriorityClass.P3), patience=AT_ONCE)

    grant = await admission.reserve(_ask(model, 600, PriorityClass.P0), patience=AT_ONCE)

    assert grant.source is Source.STORE


async def test_what_can_never_fit_is_refused_however_patient_the_caller_is(store: None, model: str) -> None:
    with pytest.raises(CanNeverFit):
        await admission.reserve(_ask(model, 2801), patience=timedelta(days=1))


async def test_settling_frees_what_was_not_used(store: None, model: str) -> None:
    grant = await admission.reserve(_ask(model, 700), patience=AT_ONCE)
    await admission.settle(grant, used_tokens=100)

    assert (await admission.reserve(_ask(model, 600), patience=AT_ONCE)).tokens == 600


async def test_a_released_call_frees_all_of_it_once(store: None, model: str) -> None:
    grant = await admission.reserve(_ask(model, 700), patience=AT_ONCE)
    await admission.release(grant)
    await admission.reserve(_ask(model, 700), patience=AT_ONCE)
    await admission.release(grant)

    with pytest.raises(QuotaExceeded):
        await admission.reserve(_ask(model, 1), patience=AT_ONCE)


async def test_a_changed_quota_acts_without_a_restart(store: None, model: str) -> None:
    await admission.reserve(_ask(model, 700), patience=AT_ONCE)
    await asyncio.to_thread(_raise_quota, model)
    async with asyncio.timeout(30):
        while (await limits.limits_of("test", model)).tokens_per_minute != 40_000:  # noqa: ASYNC110  (a row gives no sign)
            await asyncio.sleep(0.2)

    assert (await admission.reserve(_ask(model, 2801), patience=AT_ONCE)).tokens == 2801


def _raise_quota(model: str) -> None:
    ModelQuota.objects.filter(model=model).update(tokens_per_minute=40_000)
    db.connection.close()


async def test_a_model_without_a_row_has_a_conservative_quota(store: None) -> None:
    with pytest.raises(CanNeverFit):
        await admission.reserve(_ask(uuid4().hex, 200_001, PriorityClass.P0), patience=AT_ONCE)


@pytest.fixture
def no_store(nowhere: str, settings: Settings) -> None:
    settings.REDIS_URL = nowhere


async def test_without_the_store_p0_goes_on_under_a_small_share_of_this_process(no_store: None, store: None, model: str) -> None:
    grant = await admission.reserve(_ask(model, 150, PriorityClass.P0), patience=AT_ONCE)
    await admission.settle(grant, used_tokens=10)

    assert grant.source is Source.LOCAL
    with pytest.raises(QuotaExceeded):
        await admission.reserve(_ask(model, 150, PriorityClass.P0), patience=AT_ONCE)


@pytest.mark.parametrize("priority_class", [PriorityClass.P1, PriorityClass.P2, PriorityClass.P3])
async def test_without_the_store_the_others_wait_and_are_told_so(
    no_store: None, store: None, model: str, priority_class: PriorityClass
) -> None:
    with pytest.raises(QuotaStoreUnavailable) as refusal:
        await admission.reserve(_ask(model, 10, priority_class), patience=timedelta(seconds=1.5))

    assert refusal.value.retryable


async def test_a_grant_is_closed_quietly_when_the_store_went_away(store: None, model: str, nowhere: str, settings: Settings) -> None:
    grant = await admission.reserve(_ask(model, 700), patience=AT_ONCE)
    await connection.aclose()
    settings.REDIS_URL = nowhere
    await admission.settle(grant, used_tokens=10)

    assert grant.source is Source.STORE
