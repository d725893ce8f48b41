"""Admits model calls: reserves quota before each, settles or releases it after."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from datetime import timedelta
from uuid import uuid4

from quota.domain.asks import Ask, Grant, Source
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaError, QuotaExceeded, QuotaStoreUnavailable
from quota.domain.limits import Limits, check_fits, pools
from quota.domain.local_share import NEVER, LocalShare, rate
from quota.gateways import windows
from quota.services.limits import limits_of

_local: defaultdict[tuple[str, str], LocalShare] = defaultdict(LocalShare)


async def reserve(ask: Ask, *, patience: timedelta) -> Grant:
    """Wait for the call's quota, at most as long as `patience`, and reserve it.

    Raises CanNeverFit at once; QuotaExceeded as soon as it is clear that the wait would be longer,
    with the wait as `retry_after`; QuotaStoreUnavailable when the store stays away. p0 does not
    wait for the store: it goes on under this process's own small share. A caller that is cancelled
    meanwhile may leave a reservation behind, which lasts a minute.
    """
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        answer = await _reserve_now(ask)
        if isinstance(answer, Grant):
            return answer
        await _wait(answer, left=timedelta(seconds=deadline - time.monotonic()))


async def settle(grant: Grant, *, used_tokens: int) -> None:
    """Charge what was really used. Once: later calls change nothing. While the store is away the reservation stands."""
    await _close(grant, tokens=used_tokens, requests=1)


async def release(grant: Grant) -> None:
    """Give everything back: no call was made. Once, as with settle."""
    await _close(grant, tokens=0, requests=0)


async def _reserve_now(ask: Ask) -> Grant | QuotaError:
    """Return the grant, or the refusal that holds for now."""
    limits = await limits_of(ask.provider, ask.model)
    check_fits(limits, ask.priority_class, tokens=ask.tokens)
    try:
        return await _from_store(ask, limits)
    except QuotaStoreUnavailable as away:
        return _from_local_share(ask, limits, away) if ask.priority_class is PriorityClass.P0 else away


async def _from_store(ask: Ask, limits: Limits) -> Grant | QuotaError:
    grant = _grant(ask, Source.STORE)
    wait = await windows.reserve(grant.id, ask, pools=pools(limits, ask.priority_class))
    return _refusal(ask, wait) if wait else grant


def _from_local_share(ask: Ask, limits: Limits, away: QuotaStoreUnavailable) -> Grant | QuotaError:
    wait = _local[ask.provider, ask.model].take(ask.tokens, rate=rate(limits), at=time.monotonic())
    if wait == NEVER:
        return away
    return _refusal(ask, wait) if wait else _grant(ask, Source.LOCAL)


def _grant(ask: Ask, source: Source) -> Grant:
    return Grant(id=uuid4(), provider=ask.provider, model=ask.model, tokens=ask.tokens, source=source)


def _refusal(ask: Ask, wait: timedelta) -> QuotaExceeded:
    return QuotaExceeded(f"{ask.provider}/{ask.model} is at its limit.", retry_after=wait)


async def _wait(refusal: QuotaError, *, left: timedelta) -> None:
    """Sleep until it is worth asking again, or raise the refusal if that would be too late."""
    wait = refusal.retry_after or timedelta(0)
    if wait > left:
        raise refusal
    jittered = wait * (1 + random.random() / 10)  # noqa: S311  (spreads the waiting, guards nothing)
    await asyncio.sleep(min(jittered, left).total_seconds())


async def _close(grant: Grant, *, tokens: int, requests: int) -> None:
    if grant.source is Source.STORE:
        try:
            await windows.settle(grant, tokens=tokens, requests=requests)
        except QuotaStoreUnavailable:
            return
