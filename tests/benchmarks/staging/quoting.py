"""A process whose calls reserve and settle quota: many callers on one loop, each with a model call between the two."""

# ruff: noqa: E402  (Django before what needs it)

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

import uvloop
from django.conf import settings
from redis import asyncio as aioredis

from quota.domain.asks import Ask
from quota.domain.classes import PriorityClass
from quota.gateways import connection
from quota.models import ModelQuota
from quota.services import admission

MODEL = ("bench", "bench-model")
PATIENCE = timedelta(seconds=30)
TENANTS = 8


def limited(*, tokens: int, requests: int, p0_reserved: float, p3_cap: float, provider: str = MODEL[0], model: str = MODEL[1]) -> None:
    """Give a model a quota."""
    terms = {"tokens_per_minute": tokens, "requests_per_minute": requests, "p0_reserved": p0_reserved, "p3_cap": p3_cap}
    ModelQuota.objects.update_or_create(provider=provider, model=model, defaults=terms)


def reserved(*, priority_class: str, callers: int, calls: int, call_s: float) -> dict[str, list[float]]:
    """Let each caller make so many calls; return for each the seconds that reserving and settling took together."""
    return {"each": uvloop.run(_callers(callers, lambda number: _calls(PriorityClass(priority_class), number, calls, call_s)))}


def bare(*, callers: int, calls: int, call_s: float) -> dict[str, list[float]]:
    """Do the same with a bare round trip to Redis in place of each of the two."""
    return {"each": uvloop.run(_pinging(callers, calls, call_s))}


async def _callers(count: int, one: Callable[[int], Any]) -> list[float]:
    found = await asyncio.gather(*(one(number) for number in range(count)))
    await admission.rest()
    await connection.aclose()
    return [each for took in found for each in took]


async def _calls(priority_class: PriorityClass, number: int, calls: int, call_s: float) -> list[float]:
    ask = Ask(provider=MODEL[0], model=MODEL[1], priority_class=priority_class, tokens=1000, tenant=UUID(int=number % TENANTS))
    took = []
    async for lasts in _lengths(number, calls, call_s):
        began = time.perf_counter()
        grant = await admission.reserve(ask, patience=PATIENCE)
        between = time.perf_counter()
        await asyncio.sleep(lasts)
        again = time.perf_counter()
        await admission.settle(grant, used_tokens=700)
        took.append(between - began + time.perf_counter() - again)
    return took[1:]


async def _pinging(callers: int, calls: int, call_s: float) -> list[float]:
    """Every caller has a connection of its own."""
    async with aioredis.Redis.from_url(settings.REDIS_URL, max_connections=callers) as client:
        found = await asyncio.gather(*(_pings(client, number, calls, call_s) for number in range(callers)))
    return [each for took in found for each in took]


async def _pings(client: aioredis.Redis, number: int, calls: int, call_s: float) -> list[float]:
    took = []
    async for lasts in _lengths(number, calls, call_s):
        began = time.perf_counter()
        await client.ping()
        between = time.perf_counter()
        await asyncio.sleep(lasts)
        again = time.perf_counter()
        await client.ping()
        took.append(between - began + time.perf_counter() - again)
    return took[1:]


async def _lengths(number: int, calls: int, call_s: float) -> AsyncIterator[float]:
    """Yield how long each call lasts, half to one and a half of `call_s`: not in step, and one more, which connects."""
    luck = Random(number)  # noqa: S311  (variety)
    yield call_s * luck.random()
    for _ in range(calls):
        yield call_s * (0.5 + luck.random())


ACTS: Mapping[str, Callable[..., Any]] = {"limit": limited, "reserve": reserved, "bare": bare}
