"""A process's own database session: both ends watch the line, the URL's options hold, and a lost lock is not waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from config import addresses
from invocation.gateways.presence import Presence, own_connection
from invocation.selectors.presence import is_locked


def shown(session: psycopg.Connection, name: str) -> str:
    row = session.execute(f"SHOW {name}").fetchone()
    assert row
    return str(row[0])


@pytest.fixture
def presence(transactional_db: None) -> Iterator[Presence]:
    held = Presence()
    yield held
    held.leave()


def test_the_server_notices_within_ten_seconds_that_our_host_vanished(db: None) -> None:
    with own_connection() as session:
        watched = {name: shown(session, f"tcp_{name}") for name in ("keepalives_idle", "keepalives_interval", "keepalives_count")}

        assert watched == {"keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "2"}
        assert shown(session, "tcp_user_timeout") == "9000"


def test_our_end_does_not_wait_for_ever_either(db: None) -> None:
    with own_connection() as session:
        used = session.info.get_parameters()

    assert (used["keepalives_idle"], used["tcp_user_timeout"]) == ("5", "9000")
    assert used["connect_timeout"] == "5"


def test_the_sessions_of_the_pool_watch_their_line_as_well(db: None) -> None:
    with connection.cursor() as cursor:
        used = cursor.connection.info.get_parameters()
        cursor.execute("SHOW tcp_keepalives_idle")

        assert (used["connect_timeout"], used["keepalives_idle"], used["tcp_user_timeout"]) == ("5", "5", "9000")
        assert cursor.fetchone() == ("5",)
        cursor.execute("SHOW plan_cache_mode")
        assert cursor.fetchone() == ("force_generic_plan",)


def test_what_the_databases_url_says_holds_for_our_own_sessions_too(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "application_name=somebody&sslmode=allow&keepalives_idle=7&options=-c%20work_mem%3D5MB"
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", addresses.database(f"postgresql:///?{said}")["OPTIONS"])

    with own_connection() as session:
        used = session.info.get_parameters()
        assert (used["application_name"], used["sslmode"], used["keepalives_idle"]) == ("somebody", "allow", "7")
        assert (shown(session, "work_mem"), shown(session, "tcp_keepalives_idle")) == ("5MB", "5")


def test_a_lock_that_a_former_session_still_holds_is_not_waited_for(presence: Presence) -> None:
    former = presence.number
    with own_connection() as half_dead:
        half_dead.execute("SELECT pg_advisory_lock(%s)", [former])
        holding = threading.Thread(target=presence.hold, daemon=True)
        holding.start()
        holding.join(10)

        assert not holding.is_alive()
        assert presence.number != former
        assert is_locked(presence.number)


def test_a_presence_that_is_held_keeps_its_number(presence: Presence) -> None:
    former = presence.number
    presence.hold()
    presence.hold()

    assert presence.number == former
    assert is_locked(former)
