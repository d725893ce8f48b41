"""The connections to Redis: one bounded pool for each event loop, and one for threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from weakref import WeakKeyDictionary

import redis
from django.conf import settings
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from quota.domain.errors import QuotaStoreUnavailable

TIMEOUT_S = 1.0
MOST = 32

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
    pool = redis.BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=MOST,
        timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return redis.Redis(connection_pool=pool)


@contextmanager
def answering() -> Iterator[None]:
    """Turn whatever the client raises into QuotaStoreUnavailable."""
    try:
        yield
    except redis.RedisError as error:
        raise QuotaStoreUnavailable("The quota store does not answer.", retry_after=timedelta(seconds=1)) from error


def _open_on_loop() -> aioredis.Redis:
    pool = aioredis.BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=MOST,
        timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        # One more try, at once: a restarted server leaves dead connections. Our scripts are safe to repeat.
        retry=AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return aioredis.Redis.from_pool(pool)
