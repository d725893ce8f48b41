"""What each tenant's plan allows a day, as this process knows it: at most 5 s old."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from uuid import UUID

from django import db

from quota import selectors
from quota.domain.days import UNLIMITED, DayLimits
from quota.services.shared_reads import SharedReads

FRESH_S = 4.0  # and up to a second to read
MOST_KNOWN = 10_000

_known: dict[UUID, tuple[float, DayLimits]] = {}
_reads: SharedReads[DayLimits] = SharedReads()


async def day_limits(tenant_id: UUID) -> DayLimits:
    """Return the limits of the tenant's day, on an event loop."""
    limits = _fresh(tenant_id)
    return limits if limits is not None else await _reads.of(tenant_id, partial(_read_apart, tenant_id))


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
    """Return what is known well enough, or nothing."""
    at, limits = _known.get(tenant_id, _NEVER)
    return limits if time.monotonic() - at < FRESH_S else None


_NEVER = (float("-inf"), UNLIMITED)


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
