"""Hot statements: sent as they are, bound and prepared by the server, on Django's own connection and in its transaction.

Django binds parameters on the client, so that PostgreSQL plans each statement anew; for the
few statements that every job passes through, that costs more than running them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from psycopg.rows import tuple_row

Row = tuple[Any, ...]


def rows(statement: str, given: Mapping[str, Any], *, using: str = DEFAULT_DB_ALIAS) -> list[Row]:
    """Run the statement and return its rows. JSON comes back as text, as Django keeps it.

    Raises django.db errors, as a cursor of Django's does.
    """
    django = connections[using]
    django.ensure_connection()
    session: psycopg.Connection[Any] = django.connection
    session.prepare_threshold = 0  # Django says never; its own cursors bind on the client and prepare nothing all the same
    with django.wrap_database_errors:
        cursor = psycopg.Cursor(session, row_factory=tuple_row).execute(statement.encode(), given)
        return cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else []


@contextmanager
def admitting() -> Iterator[None]:
    """Let this thread's connection suit whoever admits, for as long as this lasts; nobody has it afterwards.

    It walks indexes only: a queue's statistics are never fresh, and one bad plan reads the whole backlog. And it does not wait for
    the disk: an admission that a crash of the database takes back is made anew, and its message finds a job that waits and drops it.
    """
    with connection.cursor() as cursor:
        for setting in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit", "synchronous_commit"):
            cursor.execute(f"SET {setting} = off")
    try:
        yield
    finally:
        session: psycopg.Connection[Any] | None = connection.connection
        if session is not None:
            session.close()  # back in the pool it would bring its settings to the next that writes
        connection.close()
