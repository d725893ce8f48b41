"""The ledger: added to with the caller's work, summed, never changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries

from quota import selectors
from quota.domain.classes import PriorityClass
from quota.domain.ledger import LedgerLine, ParentKind
from quota.models import LedgerEntry
from quota.services import ledger
from tests.integration.quota.conftest import NOW

pytestmark = pytest.mark.django_db
LINE = LedgerLine(
    tenant_id=uuid4(),
    endpoint="chat@1",
    mode="streaming-sync",
    priority_class=PriorityClass.P0,
    run_id=uuid4(),
    parent_kind=ParentKind.TURN,
    parent_id="t-1",
    provider="offline",
    model="gearbox-offline-standard",
    input_tokens=700,
    output_tokens=120,
    cached_tokens=0,
    cost_usd=Decimal("0.000472"),
    estimated=False,
    at=NOW,
)


def test_usage_is_summed_by_day_endpoint_mode_and_model_of_one_tenant() -> None:
    ledger.append([LINE, LINE, replace(LINE, at=NOW + timedelta(days=1)), replace(LINE, tenant_id=uuid4())])
    first, second = selectors.usage(LINE.tenant_id, since=NOW, until=NOW + timedelta(days=2))

    assert (first.day, first.calls, first.input_tokens, first.cost_usd) == ("2026-11-20", 2, 1400, Decimal("0.000944"))
    assert (second.day, second.calls, second.mode) == ("2026-11-21", 1, "streaming-sync")


def test_the_lines_are_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        ledger.append([LINE] * 100)


def test_the_lines_fall_with_the_transaction_that_paid_for_them() -> None:
    def work() -> None:
        with transaction.atomic():
            ledger.append([LINE])
            ledger.append([replace(LINE, cost_usd=Decimal(-1))])

    with pytest.raises(IntegrityError, match="ledger_cost_is_not_negative"):
        work()
    assert not LedgerEntry.objects.exists()


def test_a_written_line_can_be_neither_changed_nor_deleted() -> None:
    ledger.append([LINE])

    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        LedgerEntry.objects.update(cost_usd=0)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        LedgerEntry.objects.all().delete()


def test_the_database_knows_the_words_of_a_line() -> None:
    assert {word for word, _ in LedgerEntry._meta.get_field("priority_class").choices or ()} == set(PriorityClass)
    assert {word for word, _ in LedgerEntry._meta.get_field("parent_kind").choices or ()} == set(ParentKind)
