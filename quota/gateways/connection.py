"""The connections to Redis: one bounded pool for each event loop, and one for threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import redis
from django.conf import settings
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from quota.domain import silences
from quota.domain.errors import QuotaStoreUnavailable
from quota.domain.silences import OVERDUE_S, Silence

T = TypeVar("T")

TIMEOUT_S = 1.0
SILENT = "The quota store does not answer."
SOON = timedelta(seconds=1)
BOUNDS: dict[str, Any] = {
    "max_connections": 32,
    "timeout": TIMEOUT_S,
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
}
LOOKS = 2
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
    """Turn whatever the client raises into QuotaStoreUnavailable, ask no store that is silent, and lose no cancellation of the task.

    The client sends under `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes as the sending ends
    (CPython gh-86296): the run would go on as if nobody had stopped it.
    """
    before, since = _cancellations(), time.monotonic()
    silence = _silence()
    if not silence.lets_ask(at=since):
        raise QuotaStoreUnavailable(SILENT, retry_after=SOON)
    try:
        yield
    except redis.RedisError as error:
        if isinstance(error, redis.TimeoutError):
            silence.unanswered(since=since, at=time.monotonic())
        raise QuotaStoreUnavailable(SILENT, retry_after=SOON) from error
    silence.heard(at=time.monotonic())
    if _cancellations() > before:
        raise asyncio.CancelledError


async def unless_silent(asking: Coroutine[Any, Any, T]) -> T:
    """Wait for what is asked of the store for as long as it answers something. Raises QuotaStoreUnavailable soon after it does not.

    It is looked at twice: our own loop may have been late for the first.
    """
    silence, began = _silence(), time.monotonic()
    task = asyncio.ensure_future(asking)
    try:
        while True:
            since = time.monotonic()
            for _ in range(LOOKS):
                await asyncio.wait([task], timeout=OVERDUE_S / LOOKS)
            if task.done():
                return task.result()
            if not silence.has_answered(since=since):
                silence.unanswered(since=began, at=time.monotonic())
                raise QuotaStoreUnavailable(SILENT, retry_after=SOON)
    finally:
        task.cancel()
        await asyncio.wait([task])


def _silence() -> Silence:
    """Return what is known of the server that this loop's client, or that of threads, speaks with."""
    client = on_loop() if _is_on_loop() else in_threads()
    where = client.connection_pool.connection_kwargs
    return silences.at_address(where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}")


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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
