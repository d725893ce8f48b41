"""What each tenant's plan allows a day, as this process knows it: at most 5 s old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID
from weakref import WeakKeyDictionary

from django import db

from quota import selectors
from quota.domain.days import UNLIMITED, DayLimits

FRESH_S = 4.0  # and up to a second to read
MOST_KNOWN = 10_000

_known: dict[UUID, tuple[float, DayLimits]] = {}
_readings: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[UUID, asyncio.Task[DayLimits]]] = WeakKeyDictionary()


async def day_limits(tenant_id: UUID) -> DayLimits:
    """Return the limits of the tenant's day, on an event loop. However many ask for them at once, they are read once."""
    fresh = _fresh(tenant_id)
    return await asyncio.shield(_reading(tenant_id)) if fresh is None else fresh


def day_limits_now(tenant_id: UUID) -> DayLimits:
    """Do the same in a thread that has a connection to the database."""
    return day_limits_of_many([tenant_id])[tenant_id]


def day_limits_of_many(tenant_ids: Iterable[UUID]) -> Mapping[UUID, DayLimits]:
    """Return each one's, in such a thread and with one query at most."""
    found = {tenant_id: _fresh(tenant_id) for tenant_id in tenant_ids}
    unknown = [tenant_id for tenant_id, limits in found.items() if limits is None]
    read = _read(unknown) if unknown else {}
    return {tenant_id: limits or read[tenant_id] for tenant_id, limits in found.items()}


def forget() -> None:
    """Make the next question read the plans again."""
    _known.clear()


def _fresh(tenant_id: UUID) -> DayLimits | None:
    at, limits = _known.get(tenant_id, (float("-inf"), UNLIMITED))
    return limits if time.monotonic() - at < FRESH_S else None


def _reading(tenant_id: UUID) -> asyncio.Task[DayLimits]:
    loop = asyncio.get_running_loop()
    readings = _readings.setdefault(loop, {})
    if tenant_id not in readings:
        reading = readings[tenant_id] = loop.create_task(asyncio.to_thread(_read_apart, tenant_id))
        reading.add_done_callback(lambda _: readings.pop(tenant_id, None))
    return readings[tenant_id]


def _read_apart(tenant_id: UUID) -> DayLimits:
    """While the database is away the last known limits hold."""
    try:
        return _read([tenant_id])[tenant_id]
    except (db.OperationalError, db.InterfaceError):
        return _known.get(tenant_id, (0.0, UNLIMITED))[1]
    finally:
        db.connection.close()


def _read(tenant_ids: Sequence[UUID]) -> Mapping[UUID, DayLimits]:
    found = selectors.day_limits_of(tenant_ids)
    if len(_known) + len(found) > MOST_KNOWN:
        _known.clear()
    _known.update({tenant_id: (time.monotonic(), limits) for tenant_id, limits in found.items()})
    return found
