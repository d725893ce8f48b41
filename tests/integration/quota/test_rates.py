"""A tenant's requests per minute against a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from uuid import uuid4

import pytest
from django.conf import settings as configured
from pytest_django import Settings

from invocation.gateways.link import Link
from quota.domain.callers import Caller, PlanTerms, Scope
from quota.domain.classes import PriorityClass
from quota.domain.errors import RateExceeded
from quota.domain.rates import Rate
from quota.gateways import connection
from quota.gateways.rate_counts import Run
from quota.services import rates
from tests.integration.quota.conftest import NOW


@pytest.fixture
def caller() -> Caller:
    return Caller(
        tenant_id=uuid4(),
        tenant_name="Acme",
        key_id=1,
        scopes=frozenset(Scope),
        highest_class=PriorityClass.P0,
        plan=PlanTerms("trial", 1, 3, MappingProxyType({})),
    )


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    link = Link(configured.REDIS_URL)
    yield link.run
    await link.aclose()


def test_a_tenant_makes_its_requests_and_is_then_told_when_to_come_back(caller: Caller) -> None:
    assert [rates.take(caller, now=NOW).remaining for _ in range(3)] == [2, 1, 0]

    with pytest.raises(RateExceeded) as refusal:
        rates.take(caller, now=NOW)
    assert refusal.value.retry_after == timedelta(seconds=refusal.value.rate.reset_s)
    assert rates.take(caller, now=NOW + refusal.value.retry_after).limit == 3


def test_one_tenants_requests_are_not_anothers(caller: Caller) -> None:
    for _ in range(3):
        rates.take(caller, now=NOW)

    assert rates.take(replace(caller, tenant_id=uuid4()), now=NOW).remaining == 2


def test_the_turn_of_a_minute_gives_no_second_helping(caller: Caller) -> None:
    end = NOW + timedelta(seconds=59)
    for _ in range(3):
        rates.take(caller, now=end)

    with pytest.raises(RateExceeded):
        rates.take(caller, now=end + timedelta(seconds=2))


async def test_an_event_loop_counts_in_the_same_place(run: Run, caller: Caller) -> None:
    rates.take(caller, now=NOW)

    assert (await rates.atake(caller, now=NOW, run=run)).remaining == 1
    assert (await rates.atake(caller, now=NOW, run=run)).remaining == 0
    with pytest.raises(RateExceeded):
        await rates.atake(caller, now=NOW, run=run)


async def test_a_connection_that_was_lost_is_tried_once_more(run: Run, caller: Caller) -> None:
    tried: list[str] = []

    async def lost_at_first(script: str, keys: Sequence[str], args: Sequence[float]) -> Sequence[int]:
        tried.append(script)
        if len(tried) == 1:
            raise ConnectionError
        return await run(script, keys, args)

    assert (await rates.atake(caller, now=NOW, run=lost_at_first)).remaining == 2
    assert len(tried) == 2


async def test_an_event_loop_without_the_store_lets_every_request_through(caller: Caller) -> None:
    async def away(*_: object) -> Sequence[int]:
        raise ConnectionError

    async def mute(*_: object) -> Sequence[int]:
        await asyncio.Event().wait()
        return []

    for run in (away, mute):
        assert await rates.atake(caller, now=NOW, run=run) == Rate(3, 3, 60)


def test_without_the_store_every_request_is_let_through(caller: Caller, nowhere: str, settings: Settings) -> None:
    settings.REDIS_URL = nowhere
    connection.in_threads.cache_clear()
    answers = [rates.take(caller, now=NOW) for _ in range(5)]
    connection.in_threads.cache_clear()

    assert answers == [Rate(3, 3, 60)] * 5
