"""Two transactions that meet in the same rows."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection, connections

WAITING = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple'))"


def is_waited() -> bool:
    """Say whether anybody waits for a row."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        return bool(cursor.fetchone()[0])


def beside(act: Callable[[], object]) -> Callable[[], None]:
    """Act in a thread of its own and leave no session behind there."""

    def acted() -> None:
        try:
            act()
        finally:
            connections.close_all()

    return acted
