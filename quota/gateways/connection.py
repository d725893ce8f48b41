"""The connections to Redis: one bounded pool for each event loop, and one for threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import redis
from django.conf import settings
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from quota.domain.errors import QuotaStoreUnavailable

TIMEOUT_S = 1.0
SILENT = "The quota store does not answer."
SOON = timedelta(seconds=1)
BOUNDS: dict[str, Any] = {
    "max_connections": 32,
    "timeout": TIMEOUT_S,
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
}
ONCE_MORE = 1  # at once: a restarted server leaves dead connections, and a grant that is asked twice reserves once

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, aioredis.Redis] = WeakKeyDictionary()


def on_loop() -> aioredis.Redis:
    """Return the running loop's client, made at first need."""
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        client = _clients[loop] = _open_on_loop()
    return client


async def aclose() -> None:
    """Close the running loop's connections; the next use opens new ones."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


@cache
def in_threads() -> redis.Redis:
    """Return the client that all threads share."""
    retry = Retry(NoBackoff(), ONCE_MORE, supported_errors=(redis.ConnectionError,))
    pool = redis.BlockingConnectionPool.from_url(settings.REDIS_URL, retry=retry, **BOUNDS)
    return redis.Redis(connection_pool=pool)


@contextmanager
def answering() -> Iterator[None]:
    """Turn whatever the client raises into QuotaStoreUnavailable, and lose no cancellation of the task that asks.

    The client sends under `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes as the sending ends
    (CPython gh-86296): the run would go on as if nobody had stopped it.
    """
    before = _cancellations()
    try:
        yield
    except redis.RedisError as error:
        raise QuotaStoreUnavailable(SILENT, retry_after=SOON) from error
    if _cancellations() > before:
        raise asyncio.CancelledError


def _cancellations() -> int:
    """Return how often the current task was asked to end; none in a thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return task.cancelling() if task else 0


def _open_on_loop() -> aioredis.Redis:
    retry = AsyncRetry(NoBackoff(), ONCE_MORE, supported_errors=(redis.ConnectionError,))
    pool = aioredis.BlockingConnectionPool.from_url(settings.REDIS_URL, retry=retry, **BOUNDS)
    return aioredis.Redis.from_pool(pool)
