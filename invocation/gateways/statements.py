"""Hot statements: sent as they are, bound and prepared by the server, on Django's own connection and in its transaction.

Django binds parameters on the client, so that PostgreSQL plans each statement anew; for the
few statements that every job passes through, that costs more than running them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from psycopg.rows import tuple_row

Row = tuple[Any, ...]


def rows(statement: str, given: Mapping[str, Any]) -> list[Row]:
    """Run the statement and return its rows. JSON comes back as text, as Django keeps it.

    Raises django.db errors, as a cursor of Django's does.
    """
    django = connections[DEFAULT_DB_ALIAS]
    django.ensure_connection()
    session: psycopg.Connection[Any] = django.connection
    session.prepare_threshold = 0  # Django says never; its own cursors bind on the client and prepare nothing all the same
    with django.wrap_database_errors:
        cursor = psycopg.Cursor(session, row_factory=tuple_row).execute(statement.encode(), given)
        return cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else []


def prefer_indexes() -> None:
    """Let this process's connection walk indexes only: a queue's statistics are never fresh, and one bad plan reads the whole backlog."""
    with connection.cursor() as cursor:
        for setting in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit"):
            cursor.execute(f"SET {setting} = off")
