"""A process's presence: a session advisory lock on a database connection of its own, held for life; stops are heard on it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections

STOP_CHANNEL = "gearbox_stop"
DJANGOS = frozenset({"pool", "assume_role", "isolation_level", "server_side_binding"})
"""Options that Django keeps for itself; all others are the driver's."""


def own_connection(*, using: str = DEFAULT_DB_ALIAS) -> psycopg.Connection:
    """Open an autocommit connection outside the pool, as the settings say: both ends watch the line, as with any other.

    Raises psycopg.OperationalError when nobody answers within `connect_timeout`.
    """
    return psycopg.connect(**_parameters(connections[using].settings_dict), autocommit=True)


def _parameters(wanted: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: given for name, given in wanted["OPTIONS"].items() if name not in DJANGOS}
    fields = {"host": "HOST", "port": "PORT", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    return {**options, **{name: wanted[field] for name, field in fields.items() if wanted[field]}}


class Presence:
    """Held while the process lives. PostgreSQL lets go of it the moment the process dies."""

    def __init__(self) -> None:
        self.number = _fresh()
        self._held: psycopg.Connection | None = None

    def hold(self) -> None:
        """Take the lock, or take it again after the connection was lost (a database restart).

        Where our own former session still holds it, because the server has not noticed its end, `number` becomes a
        fresh one: whoever wrote the old one down must write it anew. Nothing is waited for but the server's answer.
        """
        if self._held is not None and not self._held.closed:
            try:
                self._held.execute("SELECT 1")
            except psycopg.OperationalError:
                self._held.close()
            else:
                return
        self._held = own_connection()
        while not _took(self._held, self.number):
            self.number = _fresh()
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


def _fresh() -> int:
    return secrets.randbits(62)


def _took(session: psycopg.Connection, number: int) -> bool:
    row = session.execute("SELECT pg_try_advisory_lock(%s)", [number]).fetchone()
    return bool(row and row[0])


def say_stop(run_id: UUID) -> None:
    """Tell every worker; the one that holds it acts when the caller's transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [STOP_CHANNEL, str(run_id)])
