"""Hints: what a lost session had taken is made good by the next one, which says every class."""

from __future__ import annotations

import time
from uuid import uuid4

import psycopg
import pytest

from invocation.gateways.hints import CHANNEL, Hinter
from invocation.gateways.presence import own_connection

LIMIT_S = 20.0


def heard_by(session: psycopg.Connection, wanted: set[str]) -> set[str]:
    """Return what was heard until all of it was, or the limit."""
    heard: set[str] = set()
    end = time.monotonic() + LIMIT_S
    while not wanted <= heard and time.monotonic() < end:
        heard |= {word.payload for word in session.notifies(timeout=0.2)}
    return heard


@pytest.mark.django_db(transaction=True)
def test_a_hint_whose_session_was_lost_is_made_good_by_hints_of_every_class() -> None:
    hinter, tenant = Hinter(), uuid4()
    with own_connection() as session:
        session.execute(f"LISTEN {CHANNEL}")
        hinter.wake("p1", tenant)
        assert f"p1 {tenant}" in heard_by(session, {f"p1 {tenant}"})
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'SELECT pg_notify%%' AND pid <> pg_backend_pid()"
        )
        hinter.wake("p2", uuid4())

        assert heard_by(session, {"p0", "p1", "p2", "p3"}) >= {"p0", "p1", "p2", "p3"}
