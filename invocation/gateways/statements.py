"""Hot statements: sent as they are, bound and prepared by the server, on Django's own connection and in its transaction.

Django binds parameters on the client, so that PostgreSQL plans each statement anew; for the
few statements that every job passes through, that costs more than running them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

Row = tuple[Any, ...]
OPEN = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})


class Statement(NamedTuple):
    """A statement and what it is given."""

    text: str
    given: Mapping[str, Any]


BEGIN, COMMIT = Statement("BEGIN", {}), Statement("COMMIT", {})


def rows(statement: str, given: Mapping[str, Any], *, using: str = DEFAULT_DB_ALIAS) -> list[Row]:
    """Run the statement and return its rows. JSON comes back as text, as Django keeps it.

    Raises django.db errors, as a cursor of Django's does.
    """
    session = _session(using)
    with connections[using].wrap_database_errors:
        return _fetched(_sent(session, Statement(statement, given)))


class Exchanges:
    """A transaction in as few exchanges with the server as its decisions allow: a thread waits for each, beside a busy loop."""

    def __init__(self, using: str, *, begin: Sequence[Statement] = (), end: Sequence[Statement] = ()) -> None:
        self._using = using
        self._session = _session(using)
        self._first = begin
        self._last = end

    def ask(self, *asked: Statement) -> list[list[Row]]:
        """Send these statements as one, and return the rows of each. What one raises keeps those behind it from running."""
        sent, self._first = [*self._first, *asked], ()
        with connections[self._using].wrap_database_errors, self._session.pipeline():
            cursors = [_sent(self._session, each) for each in sent]
        return [_fetched(cursor) for cursor in cursors[len(sent) - len(asked) :]]

    def end(self, *last: Statement) -> None:
        """Send the last statements, and commit, as one; again this does nothing."""
        sent, self._last = [*last, *self._last], ()
        if sent:
            self.ask(*sent)

    def take_back(self) -> None:
        """Undo what was not committed, on a connection that is not lost."""
        if self._session.info.transaction_status in OPEN:
            self._session.rollback()


@contextmanager
def exchanges(*, using: str = DEFAULT_DB_ALIAS) -> Iterator[Exchanges]:
    """Yield a transaction, which `end` commits, or the block's end; where something is raised nothing of it stands.

    Within a transaction of Django's it is a part of that one. Raises django.db errors.
    """
    if connections[using].in_atomic_block:
        with transaction.atomic(using=using):
            yield Exchanges(using)
        return
    own = Exchanges(using, begin=(BEGIN,), end=(COMMIT,))
    try:
        yield own
        own.end()
    finally:
        own.take_back()


def _session(using: str) -> psycopg.Connection[Any]:
    django = connections[using]
    django.ensure_connection()
    session: psycopg.Connection[Any] = django.connection
    session.prepare_threshold = 0  # Django says never; its own cursors bind on the client and prepare nothing all the same
    return session


def _sent(session: psycopg.Connection[Any], statement: Statement) -> psycopg.Cursor[Row]:
    return psycopg.Cursor(session, row_factory=tuple_row).execute(statement.text.encode(), statement.given or None)


def _fetched(cursor: psycopg.Cursor[Row]) -> list[Row]:
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
