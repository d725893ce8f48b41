"""Counts a tenant's requests. Without the store every request is let through: a rate is a courtesy, not a debt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from quota.domain.callers import Caller
from quota.domain.errors import QuotaStoreUnavailable, RateExceeded
from quota.domain.rates import Rate
from quota.gateways import rate_counts
from quota.gateways.rate_counts import Run, Taking


def take(caller: Caller, *, now: datetime) -> Rate:
    """Count one request and return what the RateLimit headers say. Raises RateExceeded."""
    limit = caller.plan.requests_per_minute
    try:
        taking = rate_counts.take(caller.tenant_id, limit=limit, now=now)
    except QuotaStoreUnavailable:
        return _unknown(limit)
    return _judge(taking, limit)


def take_many(callers: Sequence[Caller], *, now: datetime) -> list[Rate | RateExceeded]:
    """Count one request of each caller, in one exchange; a refusal stands in the place of its rate."""
    limits = [caller.plan.requests_per_minute for caller in callers]
    try:
        asked = [(caller.tenant_id, limit) for caller, limit in zip(callers, limits, strict=True)]
        takings = rate_counts.take_many(asked, now=now)
    except QuotaStoreUnavailable:
        return [_unknown(limit) for limit in limits]
    return [
        taking.counts.rate(limit) if taking.is_allowed else RateExceeded(taking.counts.rate(limit))
        for taking, limit in zip(takings, limits, strict=True)
    ]


async def atake(caller: Caller, *, now: datetime, run: Run) -> Rate:
    """Count one request on an event loop, by a connection to the store that it has. Raises RateExceeded."""
    limit = caller.plan.requests_per_minute
    try:
        taking = await rate_counts.atake(caller.tenant_id, limit=limit, now=now, run=run)
    except QuotaStoreUnavailable:
        return _unknown(limit)
    return _judge(taking, limit)


def _judge(taking: Taking, limit: int) -> Rate:
    rate = taking.counts.rate(limit)
    if not taking.is_allowed:
        raise RateExceeded(rate)
    return rate


def _unknown(limit: int) -> Rate:
    return Rate(limit, limit, 60)
