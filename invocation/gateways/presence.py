"""A process's presence: a session advisory lock on a database connection of its own, held for life; stops are heard on it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection

STOP_CHANNEL = "gearbox_stop"
KEEPALIVE: Mapping[str, Any] = MappingProxyType({"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2})


def own_connection() -> psycopg.Connection:
    """Open an autocommit connection outside the pool; TCP keepalives let the server notice a host that vanished."""
    wanted = connection.settings_dict
    return psycopg.connect(
        host=wanted["HOST"],
        port=wanted["PORT"] or None,
        dbname=wanted["NAME"],
        user=wanted["USER"],
        password=wanted["PASSWORD"],
        autocommit=True,
        **KEEPALIVE,
    )


class Presence:
    """Held while the process lives. PostgreSQL lets go of it the moment the process dies."""

    def __init__(self) -> None:
        self.number = secrets.randbits(62)
        self._held: psycopg.Connection | None = None

    def hold(self) -> None:
        """Take the lock, or take it again after the connection was lost (a database restart)."""
        if self._held is not None and not self._held.closed:
            try:
                self._held.execute("SELECT 1")
            except psycopg.OperationalError:
                self._held.close()
            else:
                return
        self._held = own_connection()
        self._held.execute("SELECT pg_advisory_lock(%s)", [self.number])
        self._held.execute(f"LISTEN {STOP_CHANNEL}")

    def heard(self, *, within: timedelta) -> list[str]:
        """Return the ids that were asked to stop meanwhile; comes back early with them, else after `within`.

        Raises psycopg.OperationalError if the connection was lost.
        """
        if self._held is None:
            raise psycopg.OperationalError("presence is not held")
        return [word.payload for word in self._held.notifies(timeout=within.total_seconds(), stop_after=1)]

    def leave(self) -> None:
        if self._held is not None:
            self._held.close()


def say_stop(run_id: UUID) -> None:
    """Tell every worker; the one that holds it acts when the caller's transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [STOP_CHANNEL, str(run_id)])
