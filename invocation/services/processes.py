"""Worker processes: registering, renewing every lease at once, leaving, and noticing the dead."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from invocation.models import Process

# A lock that is missing counts only while the database has been up for a while: after its restart every process
# takes its lock again within a heartbeat.
DEAD = """
UPDATE invocation_process AS process SET lease_until = %(now)s
WHERE process.lease_until > %(now)s
  AND pg_postmaster_start_time() < clock_timestamp() - interval '10 seconds'
  AND process.started_at < %(now)s - interval '1 second'
  AND NOT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32) | objid::bigint = process.presence)
RETURNING process.id
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


def drain(process_id: UUID) -> None:
    """Let nothing new come; what runs goes on."""
    Process.objects.filter(pk=process_id).update(is_draining=True)


def leave(process_id: UUID) -> None:
    """Forget a process that holds nothing any more."""
    Process.objects.filter(pk=process_id).delete()


def end_leases_of_the_dead(*, now: datetime) -> list[UUID]:
    """End the lease of every process whose database session is gone; what it held can be rescued at once."""
    with connection.cursor() as cursor:
        cursor.execute(DEAD, {"now": now})
        return [row[0] for row in cursor.fetchall()]
