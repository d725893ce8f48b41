"""Transactions in few exchanges: whole or not there, a part of Django's own where there is one, and of use after an error."""

from __future__ import annotations

import pytest
from django.db import DataError, connection, transaction

from invocation.gateways import statements
from invocation.gateways.statements import Statement

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "%(key)s::text"
KEEP = f"INSERT INTO django_session (session_key, session_data, expire_date) VALUES ({KEY}, '', now())"
COUNT = f"SELECT count(*) FROM django_session WHERE session_key LIKE {KEY}"
BROKEN = Statement("SELECT 1 / %(zero)s::int", {"zero": 0})


def keep(key: str) -> Statement:
    return Statement(KEEP, {"key": key})


def kept(prefix: str = "kept") -> int:
    [(count,)] = statements.rows(COUNT, {"key": f"{prefix}%"})
    return int(count)


def test_what_is_sent_as_one_is_answered_one_by_one_and_committed_at_the_end() -> None:
    with statements.exchanges() as sent:
        first, second = sent.ask(keep("kept-1"), Statement(COUNT, {"key": "kept%"}))
        sent.end(keep("kept-2"))

    assert (first, second) == ([], [(1,)])
    assert kept() == 2
    connection.close()
    assert kept() == 2


def test_without_an_end_of_its_own_the_block_commits() -> None:
    with statements.exchanges() as sent:
        sent.ask(keep("kept-1"))
    connection.close()

    assert kept() == 1


@pytest.mark.parametrize("place", ["asked", "ended"])
def test_where_something_is_raised_nothing_stands_and_the_connection_serves_on(place: str) -> None:
    def breaks() -> None:
        with statements.exchanges() as sent:
            sent.ask(keep("kept-1"))
            if place == "asked":
                sent.ask(BROKEN, keep("kept-2"))
            sent.end(BROKEN, keep("kept-3"))

    with pytest.raises(DataError):
        breaks()
    assert kept() == 0
    with statements.exchanges() as sent:
        sent.end(keep("kept-4"))
    assert kept() == 1


def test_within_a_transaction_of_djangos_it_stands_and_falls_with_that() -> None:
    def breaks() -> None:
        with statements.exchanges() as sent:
            sent.ask(keep("kept-2"), BROKEN)

    with transaction.atomic():
        with statements.exchanges() as sent:
            sent.end(keep("kept-1"))
        assert kept() == 1
        with pytest.raises(DataError):
            breaks()
        assert kept() == 1
        transaction.set_rollback(True)

    assert kept() == 0
