"""The ledger of batches beside the other: a line lies with what it pays for, and whoever reads usage reads both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from django.db import IntegrityError, connections, transaction

from quota.domain.classes import PriorityClass
from quota.domain.ledger import LedgerLine, ParentKind
from quota.domain.usage import Figures, Grouping, Selection
from quota.gateways.ledgers import BATCHES, LEDGERS, Ledger
from quota.models import BatchLedgerEntry, BatchUsageDay, LedgerEntry, UsageDay
from quota.selectors import prices, used_by_tenants, used_on
from quota.selectors import usage as read
from quota.selectors.ledger import booked_by_class
from quota.services import ledger, usage
from tests.integration.quota.conftest import NOW
from tests.integration.quota.lines import TENANT, a_line

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(days=1)
EVER = Selection(since=NOW - timedelta(days=1), until=LATER)
FACTS = {"parent_kind": ParentKind.BATCH, "priority_class": PriorityClass.P3, "mode": "batch-window"}


def a_row(**facts: object) -> LedgerLine:
    return a_line(**{**FACTS, **facts})


def test_a_batchs_lines_have_a_ledger_of_their_own_and_a_job_of_class_p3_has_none() -> None:
    ledger.append([a_line(), a_line(priority_class=PriorityClass.P3, parent_kind=ParentKind.JOB), a_row()])

    assert [LedgerEntry.objects.count(), BatchLedgerEntry.objects.count()] == [2, 1]


def test_a_batchs_line_that_is_booked_again_changes_nothing() -> None:
    line = a_row()

    assert [ledger.append([line]), ledger.append([line])] == [[line], []]
    assert BatchLedgerEntry.objects.count() == 1


@pytest.mark.parametrize("is_summed", [True, False])
def test_usage_is_the_sum_of_both(*, is_summed: bool) -> None:
    lines = [a_line(), a_row(), a_row(model="gearbox-offline-economy"), a_line(endpoint="judge@1")]
    ledger.append(lines)
    if is_summed:
        usage.sweep(now=NOW)
        assert (UsageDay.objects.count(), BatchUsageDay.objects.count()) == (2, 2)
    day = NOW.date()

    assert read.total(EVER, now=LATER).cost_usd == sum(line.cost_usd for line in lines)
    assert used_on(TENANT, day) == used_by_tenants(day)[TENANT] == sum((line.spending for line in lines[1:]), lines[0].spending)
    assert {each.group: each.figures.calls for each in read.used(EVER, (Grouping.MODEL,), now=LATER)} == {
        ("gearbox-offline-economy",): 1,
        ("gearbox-offline-standard",): 3,
    }
    by_class = booked_by_class("offline", "gearbox-offline-standard", since=NOW)
    assert {word: requests for word, (_, requests) in by_class.items()} == {PriorityClass.P0: 2, PriorityClass.P3: 1}
    if is_summed:
        assert ("offline", "gearbox-offline-economy") in prices.models_in_use(since=day)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_pages_go_through_the_groups_of_both_in_one_order(most: int) -> None:
    models = {"a": [a_line], "b": [a_row], "c": [a_line, a_row], "d": [a_row], "e": [a_line]}
    ledger.append([make(model=name) for name, makes in models.items() for make in makes])

    assert list(_paged(most)) == [(name, len(makes)) for name, makes in models.items()]


def _paged(most: int) -> Iterator[tuple[str, int]]:
    for page in read.pages(EVER, (Grouping.MODEL,), now=LATER, most=most):
        assert 0 < len(page) <= most
        yield from ((each.group[0], each.figures.calls) for each in page)


def test_the_ledger_of_batches_takes_no_other_line() -> None:
    row = BatchLedgerEntry(**{**_columns(a_row()), "parent_kind": "job"})

    with pytest.raises(IntegrityError, match="batch_ledger_is_of_batches"), transaction.atomic(using=BATCHES.database):
        row.save()


def test_a_batchs_line_can_be_neither_changed_nor_deleted() -> None:
    ledger.append([a_row()])

    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(using=BATCHES.database):
        BatchLedgerEntry.objects.update(cost_usd=0)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(using=BATCHES.database):
        BatchLedgerEntry.objects.all().delete()


def test_the_ledger_of_batches_cannot_be_emptied() -> None:
    with connections[BATCHES.database].cursor() as cursor:
        cursor.execute("ALTER TABLE quota_batchledgerentry ENABLE TRIGGER USER")  # as in test_ledger.py
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(using=BATCHES.database):
            cursor.execute("TRUNCATE quota_batchledgerentry")


def test_both_have_the_same_columns_and_the_same_rules() -> None:
    first, second = ([_shape(model) for model in _tables(each)] for each in LEDGERS)

    assert first == second


def _tables(of: Ledger) -> Sequence[type]:
    return of.lines, of.days, of.marks


def _shape(model: type) -> object:
    told = model._meta  # type: ignore[attr-defined]
    fields = [(field.name, type(field), field.unique) for field in told.concrete_fields]
    rules = {_nameless(each) for each in (*told.constraints, *told.indexes)} - {_nameless(BatchLedgerEntry._meta.constraints[0])}
    return fields, rules


def _nameless(rule: object) -> str:
    _, args, facts = rule.deconstruct()  # type: ignore[attr-defined]
    return repr((type(rule), args, sorted((key, str(value)) for key, value in facts.items() if key != "name")))


def _columns(line: LedgerLine) -> dict[str, object]:
    return {field.name: getattr(line, field.name) for field in BatchLedgerEntry._meta.concrete_fields if hasattr(line, field.name)}


def test_no_line_is_nothing() -> None:
    assert ledger.append([]) == []
    assert read.total(EVER, now=LATER) == Figures()
