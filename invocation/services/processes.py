"""Worker processes: registering, renewing every lease at once, leaving, and noticing the dead."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from invocation.models import Process

# A lock that is missing counts only while the database has been up for a while, and only when two looks in a row
# missed it: after a restart, or when a crashed backend drops every session, processes take their locks again at once.
MISSING = """
SELECT process.id FROM invocation_process AS process
WHERE process.lease_until > %(now)s
  AND pg_postmaster_start_time() < clock_timestamp() - interval '10 seconds'
  AND process.started_at < %(now)s - interval '1 second'
  AND NOT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32) | objid::bigint = process.presence)
"""


def register(process_id: UUID, *, priority_class: str, slots: int, presence: int, now: datetime, lease: timedelta) -> None:
    """Make a worker known; its slots count from now on."""
    Process.objects.create(
        id=process_id,
        priority_class=priority_class,
        slots=slots,
        host=socket.gethostname(),
        pid=os.getpid(),
        presence=presence,
        started_at=now,
        lease_until=now + lease,
    )


def renew(process_id: UUID, *, now: datetime, lease: timedelta) -> bool:
    """Keep everything that the process holds; False if its lease had ended, so that others may hold it already."""
    return bool(Process.objects.filter(pk=process_id, lease_until__gt=now).update(lease_until=now + lease))


def revive(process_id: UUID, *, now: datetime, lease: timedelta) -> bool:
    """Take up work again after the lease had ended; what was held before is no longer ours. False if the process was forgotten."""
    return bool(Process.objects.filter(pk=process_id).update(lease_until=now + lease))


def appear(process_id: UUID, *, presence: int) -> None:
    """Be known by another lock: the former one is still held by a session that was lost."""
    Process.objects.filter(pk=process_id).update(presence=presence)


def drain(process_id: UUID) -> None:
    """Let nothing new come; what runs goes on."""
    Process.objects.filter(pk=process_id).update(is_draining=True)


def leave(process_id: UUID) -> None:
    """Forget a process that holds nothing any more."""
    Process.objects.filter(pk=process_id).delete()


def end_lease(process_id: UUID, *, now: datetime) -> None:
    """Let what a process held be rescued at once: whoever says so saw it die."""
    Process.objects.filter(pk=process_id, lease_until__gt=now).update(lease_until=now)


class DeathWatch:
    """Notices processes whose database session is gone, and ends their leases, so that what they held is rescued at once."""

    def __init__(self) -> None:
        self._missed: set[UUID] = set()

    def look(self, *, now: datetime) -> list[UUID]:
        """Return who died: whose session was missing at this look and at the one before."""
        missing = _missing(now=now)
        dead, self._missed = missing & self._missed, missing
        Process.objects.filter(pk__in=dead, lease_until__gt=now).update(lease_until=now)
        return list(dead)


def _missing(*, now: datetime) -> set[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(MISSING, {"now": now})
        return {row[0] for row in cursor.fetchall()}
