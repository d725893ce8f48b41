"""Whether those who do the work are there: a worker of a class on a machine, the holder of a lock."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from invocation.models import Process

HOLDERS = """
SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (classid::bigint << 32) | objid::bigint = %s
"""


def lives(priority_class: str, *, host: str, now: datetime) -> bool:
    """Tell whether a worker of this class on this machine that takes messages keeps its lease."""
    return Process.objects.filter(priority_class=priority_class, host=host, slots__gt=0, lease_until__gt=now).exists()


def is_locked(number: int) -> bool:
    """Tell whether some session holds this advisory lock."""
    with connection.cursor() as cursor:
        cursor.execute(HOLDERS, [number])
        return cursor.fetchone() is not None
