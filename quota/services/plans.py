"""What each tenant's plan allows a day, as this process knows it: at most 5 s old."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from django import db

from quota import selectors
from quota.domain.days import UNLIMITED, DayLimits

FRESH_S = 4.0  # and up to a second to read
MOST_KNOWN = 10_000

_known: dict[UUID, tuple[float, DayLimits]] = {}


async def day_limits(tenant_id: UUID) -> DayLimits:
    """Return the limits of the tenant's day, on an event loop."""
    at, limits = _known.get(tenant_id, (float("-inf"), UNLIMITED))
    return limits if time.monotonic() - at < FRESH_S else await asyncio.to_thread(_read_apart, tenant_id)


def day_limits_now(tenant_id: UUID) -> DayLimits:
    """Do the same in a thread that has a connection to the database."""
    at, limits = _known.get(tenant_id, (float("-inf"), UNLIMITED))
    return limits if time.monotonic() - at < FRESH_S else _read(tenant_id)


def forget() -> None:
    """Make the next question read the plans again."""
    _known.clear()


def _read_apart(tenant_id: UUID) -> DayLimits:
    """While the database is away the last known limits hold."""
    try:
        return _read(tenant_id)
    except (db.OperationalError, db.InterfaceError):
        return _known.get(tenant_id, (0.0, UNLIMITED))[1]
    finally:
        db.connection.close()


def _read(tenant_id: UUID) -> DayLimits:
    limits = selectors.day_limits_of(tenant_id)
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    _known[tenant_id] = (time.monotonic(), limits)
    return limits
