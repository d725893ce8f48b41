"""Admits model calls: reserves quota before each, settles or releases it after, and heeds what the provider answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from datetime import timedelta
from weakref import WeakKeyDictionary

from quota.domain.asks import Ask, Grant
from quota.domain.classes import PriorityClass
from quota.domain.errors import CanNeverFit
from quota.domain.limits import check_fits
from quota.gateways.windows import ModelKey
from quota.services.limits import known_limits, limits_of
from quota.services.rooms import Room

A_SECOND = timedelta(seconds=1)
_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[ModelKey, Room]] = WeakKeyDictionary()


async def reserve(ask: Ask, *, patience: timedelta) -> Grant:
    """Wait for the call's quota, at most as long as `patience`, and reserve it.

    Whoever waits is served strictly by class, round-robin over tenants, each tenant's calls in order;
    nobody passes a larger call that came before. Raises CanNeverFit at once; QuotaExceeded as soon as it
    is clear that the wait would be longer, with the wait as `retry_after`; ModelUnavailable while the
    provider is out (p3 waits for it); QuotaStoreUnavailable when the store stays away. p0 does not wait
    for the store: it goes on under this process's own small share. What a process that dies has
    reserved counts as used until it has left the minute.
    """
    deadline = time.monotonic() + patience.total_seconds()
    limits = await limits_of(ask.provider, ask.model)
    check_fits(limits, ask.priority_class, tokens=ask.tokens)
    return await _room(ask.provider, ask.model).reserve(ask, limits, deadline=deadline)


def check_can_fit(provider: str, models: Collection[str], priority_class: PriorityClass, *, tokens: int) -> None:
    """Refuse at submission what no model's quota could ever take. Raises CanNeverFit; reserves nothing."""
    refusals = [refusal for model in models if (refusal := _refusal(provider, model, priority_class, tokens))]
    if refusals and len(refusals) == len(models):
        raise refusals[0]


def _refusal(provider: str, model: str, priority_class: PriorityClass, tokens: int) -> CanNeverFit | None:
    try:
        check_fits(known_limits(provider, model), priority_class, tokens=tokens)
    except CanNeverFit as refusal:
        return refusal
    return None


async def settle(grant: Grant, *, used_tokens: int) -> None:
    """Charge what was really used. Once: later calls change nothing. The store is told within some 40 ms."""
    _room(grant.provider, grant.model).close(grant, tokens=used_tokens, requests=1)


async def release(grant: Grant) -> None:
    """Give everything back: no call was made. Once, as with settle."""
    _room(grant.provider, grant.model).close(grant, tokens=0, requests=0)


def answered(grant: Grant) -> None:
    """The provider has begun to answer: it is there. Closes the breaker, if this was its probe."""
    _room(grant.provider, grant.model).answered(grant)


def failed(grant: Grant, *, retry_after: timedelta | None = None) -> None:
    """The provider could not be reached, failed, fell silent or broke off. Five of these in a row open the breaker."""
    _room(grant.provider, grant.model).failed(grant, retry_after=retry_after or timedelta(0))


def slowed(grant: Grant, *, retry_after: timedelta | None = None) -> None:
    """The provider answered 429: the ceiling is lowered for every process, and nobody calls before its Retry-After."""
    _room(grant.provider, grant.model).slowed(grant, retry_after=retry_after or A_SECOND)


async def rest() -> None:
    """Wait until the store knows what was settled on this loop, as far as it can be reached."""
    for room in list(_rooms.get(asyncio.get_running_loop(), {}).values()):
        await room.rest()


def _room(provider: str, model: str) -> Room:
    loop, key = asyncio.get_running_loop(), (provider, model)
    rooms = _rooms.get(loop)
    if rooms is None:
        rooms = _rooms[loop] = {}
    room = rooms.get(key)
    if room is None:
        room = rooms[key] = Room(key)
    return room
