"""The ledger: added to with the caller's work, each call once, never changed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from quota.domain.classes import PriorityClass
from quota.domain.ledger import ParentKind
from quota.domain.prices import Price, cost
from quota.models import LedgerEntry
from quota.services import ledger
from tests.integration.quota.lines import a_line

pytestmark = pytest.mark.django_db


def test_the_lines_are_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        ledger.append([a_line() for _ in range(100)])


def test_the_lines_fall_with_the_transaction_that_paid_for_them() -> None:
    def work() -> None:
        with transaction.atomic():
            ledger.append([a_line()])
            ledger.append([a_line(cost_usd=Decimal(-1))])

    with pytest.raises(IntegrityError, match="ledger_cost_is_not_negative"):
        work()
    assert not LedgerEntry.objects.exists()


def test_a_call_that_is_booked_again_is_booked_once() -> None:
    line, other = a_line(), a_line()

    assert ledger.append([line]) == [line]
    assert ledger.append([line, other]) == [other]
    assert LedgerEntry.objects.count() == 2


def test_a_line_explains_its_own_cost() -> None:
    ledger.append([a_line(input_tokens=700, output_tokens=120, cached_tokens=300, cost_usd=Decimal("0.000382"))])
    line = LedgerEntry.objects.get()
    assert line.input_price is not None
    assert line.output_price is not None
    assert line.cached_price is not None
    price = Price(input=line.input_price, output=line.output_price, cached=line.cached_price)

    assert cost(price, input=line.input_tokens, output=line.output_tokens, cached=line.cached_tokens) == line.cost_usd


def test_a_written_line_can_be_neither_changed_nor_deleted() -> None:
    ledger.append([a_line()])

    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        LedgerEntry.objects.update(cost_usd=0)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        LedgerEntry.objects.all().delete()


@pytest.mark.parametrize("table", ["quota_ledgerentry", "quota_quotachange"])
def test_what_is_kept_for_good_cannot_be_emptied(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")  # the tests' own emptying is let through, see tests/conftest.py
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            cursor.execute(f"TRUNCATE {table}")


def test_the_database_knows_the_words_of_a_line() -> None:
    assert {word for word, _ in LedgerEntry._meta.get_field("priority_class").choices or ()} == set(PriorityClass)
    assert {word for word, _ in LedgerEntry._meta.get_field("parent_kind").choices or ()} == set(ParentKind)
