"""What the tests of invocation share: the trial's endpoints, and a loop whose connections close with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import redis
from django.conf import settings as configured

from agents.gateways import postgres
from invocation.gateways import declared, shared_counts, streams
from quota.gateways import connection
from quota.services import admission, limits
from tests.integration.invocation import trial

T = TypeVar("T")
OnLoop = Callable[[Coroutine[Any, Any, T]], T]
LIMIT_S = 20.0
LOOK_S = 0.01


@pytest.fixture
def tried(settings: Any) -> Iterator[None]:
    """The trial's endpoints are declared beside the installation's, nothing was counted yet, and the offline model is instant."""
    settings.OFFLINE_FIRST_TOKEN_MS, settings.OFFLINE_TOKEN_MS = 0, 0
    settings.ENDPOINT_MODULES = ("config.endpoints", "tests.integration.invocation.trial")
    settings.AGENT_MODULES = ("agents.mangaassist.agent", "tests.integration.invocation.trial")
    declared.book.cache_clear()
    trial.forget()
    yield
    declared.book.cache_clear()


@pytest.fixture
def wiped() -> Iterator[redis.Redis]:
    """The stream store, empty."""
    with redis.Redis.from_url(configured.REDIS_URL) as store:
        store.flushdb()
        yield store


@pytest.fixture
def on_loop() -> OnLoop[Any]:
    """Return a function that runs a coroutine on a fresh loop and closes what it opened there."""

    async def closing(work: Coroutine[Any, Any, T]) -> T:
        limits.forget()
        try:
            return await asyncio.wait_for(work, 60)
        finally:
            await admission.rest()  # what still tells the store would connect anew behind the closing
            await streams.aclose()
            await shared_counts.aclose()
            await connection.aclose()
            await postgres.aclose()

    return lambda work: asyncio.run(closing(work))


async def until(condition: Callable[[], Awaitable[bool] | bool], *, within_s: float = LIMIT_S) -> None:
    """Return when the condition holds; fail if it does not within the limit."""
    end = asyncio.get_running_loop().time() + within_s
    while asyncio.get_running_loop().time() < end:
        found = condition()
        if found is True or (not isinstance(found, bool) and await found):
            return
        await asyncio.sleep(LOOK_S)
    raise AssertionError("the condition did not come true in time")
