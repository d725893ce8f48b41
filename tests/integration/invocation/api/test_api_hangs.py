"""A store or a broker that takes what it is asked and answers nothing: a chat is shed at once, and nobody else is held up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis
from django.conf import settings as given
from pytest_django import Settings

from invocation.gateways import dispatch, shared_counts
from invocation.gateways.database import off_loop
from invocation.models import Turn
from quota.domain import silences
from quota.domain.silences import REST_S
from quota.gateways import connection
from quota.models import Plan, Tenant
from quota.services import plans
from tests.integration.invocation.api.apart import app as apart
from tests.integration.invocation.api.calling import Account, open_account, refusal
from tests.integration.invocation.api.performing import a_performer
from tests.integration.invocation.api.test_api_streams import ask, read
from tests.integration.invocation.rows import a_process
from tests.proxy import Proxy, proxied

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]
MANY = 12
LIMIT_S = 20.0
"""What many calls may take one after another; less than a few would if each waited for the store as long as it may."""


def through(url: str, proxy: Proxy) -> str:
    real = urlsplit(url)
    whose, at, _ = real.netloc.rpartition("@")
    return real._replace(netloc=f"{whose}{at}127.0.0.1:{proxy.port}").geturl()


@pytest.fixture
def way(settings: Settings) -> Iterator[Proxy]:
    """The way to the store, of threads as of the loop."""
    with proxied(urlsplit(settings.REDIS_URL).port or 6379) as proxy:
        settings.REDIS_URL = through(settings.REDIS_URL, proxy)
        _forget()
        yield proxy
        proxy.thaw()
        _forget()


def _forget() -> None:
    connection.in_threads.cache_clear()
    shared_counts._blocking.cache_clear()


@pytest.fixture
def way_to_broker(settings: Settings) -> Iterator[Proxy]:
    with proxied(urlsplit(given.BROKER_URL).port or 6379) as proxy:
        apart.conf.update(broker_url=through(given.BROKER_URL, proxy))
        settings.CELERY_APP = "tests.integration.invocation.api.apart.app"
        dispatch._broker.cache_clear()
        yield proxy
        proxy.thaw()
        dispatch._broker.cache_clear()


@pytest.fixture
def limited(transactional_db: None) -> Account:
    """An account whose plan limits its day and its streams."""
    account = open_account()
    terms = {"requests_per_minute": 10_000, "daily_usd": Decimal(1), "connections": 50}
    plan = Plan.objects.create(name=f"limited-{uuid4().hex[:20]}", **terms)
    Tenant.objects.filter(pk=account.tenant_id).update(plan=plan)
    plans.forget()
    return account


async def test_a_chat_is_shed_at_once_while_the_store_hangs_and_the_database_is_left_to_others(limited: Account, way: Proxy) -> None:
    async with a_performer():
        await read(await ask(limited))
        way.freeze()
        async with asyncio.timeout(LIMIT_S):
            shed = await asyncio.gather(*(ask(limited) for _ in range(MANY)), off_loop(str))
            shed = shed[:MANY] + [await ask(limited) for _ in range(MANY)]
        way.thaw()

    for answer in shed:
        refusal(answer, status=503, code="stream_unavailable")


async def test_a_chat_is_served_again_once_the_store_answers(limited: Account, way: Proxy) -> None:
    async with a_performer():
        await read(await ask(limited))
        way.freeze()
        refusal(await ask(limited), status=503, code="stream_unavailable")
        way.thaw()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.sleep(REST_S)  # until somebody asks it again
            while (answer := await ask(limited)).status_code != 200:
                continue
            assert (await read(answer))[-1]["type"] == "turn.completed"


async def test_a_broker_that_hangs_costs_one_chat_a_moment_and_the_next_ones_nothing(
    limited: Account, way_to_broker: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silences, "REST_S", 600.0)
    await off_loop(a_process, "p0", now=datetime.now(UTC), lease=timedelta(minutes=5))
    way_to_broker.freeze()
    async with asyncio.timeout(LIMIT_S):
        shed = [await ask(limited) for _ in range(MANY)]

    for answer in shed:
        refusal(answer, status=503, code="stream_unavailable")
    assert way_to_broker.accepted == 1
    assert not await off_loop(Turn.objects.filter(finished_at=None).exists)


async def test_the_day_of_a_limited_plan_is_read_once_a_chat(limited: Account) -> None:
    async with a_performer():
        await read(await ask(limited))
        with redis.Redis.from_url(given.REDIS_URL) as store:
            store.config_resetstat()
            await read(await ask(limited))
            found: Any = store.info("commandstats")

    assert found["cmdstat_hmget"]["calls"] == 1
    assert await off_loop(Turn.objects.count) == 2
