"""Counting a request of a caller whom the event loop serves, over the connection to Redis that the loop has."""

from __future__ import annotations

from datetime import datetime

from invocation.gateways import streams
from quota.domain.callers import Caller
from quota.domain.rates import Rate
from quota.services import rates


async def take(caller: Caller, *, now: datetime) -> Rate:
    """Count one request and return what the RateLimit headers say; without the store it is let through. Raises RateExceeded."""
    return await rates.atake(caller, now=now, run=streams.hub().link.run)
