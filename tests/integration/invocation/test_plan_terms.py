"""What the dispatcher knows of plans: soon what an operator changed, and read before it is asked for."""

from __future__ import annotations

import time

import pytest
from pytest_django import DjangoAssertNumQueries

from invocation.services import plan_terms
from invocation.services.plan_terms import KnownTerms
from quota.models import Plan, Tenant
from tests.integration.invocation.rows import a_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is old at once."""
    monkeypatch.setattr(plan_terms, "TENANT_S", 0.0)
    monkeypatch.setattr(plan_terms, "PLANS_S", 0.0)


def test_nobody_is_asked_twice_and_who_is_not_active_has_no_terms(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    pro, house, gone = a_tenant("pro"), a_tenant("house"), a_tenant("free")
    Tenant.objects.filter(pk=gone).update(is_active=False)
    known = KnownTerms()
    found = known.of([pro, house, gone])

    assert {tenant: terms.name for tenant, terms in found.items()} == {pro: "pro", house: "house"}
    with django_assert_num_queries(0):
        assert known.of([house, gone, pro]) == found


def test_a_tenant_of_a_plan_that_was_made_meanwhile_has_its_terms() -> None:
    known = KnownTerms()
    known.of([a_tenant("pro")])
    new = a_tenant("just made", in_flight_p1=3)

    assert known.of([new])[new].in_flight["p1"] == 3  # type: ignore[index]  # a class is its word


@pytest.mark.usefixtures("later")
def test_what_was_changed_is_known_when_what_was_read_is_old() -> None:
    tenant, known = a_tenant("pro"), KnownTerms()
    before = known.of([tenant])[tenant]
    Plan.objects.filter(name="pro").update(weight=before.weight + 1)
    time.sleep(0.001)
    changed = known.of([tenant])[tenant]
    Tenant.objects.filter(pk=tenant).update(is_active=False)
    time.sleep(0.001)

    assert changed.weight == before.weight + 1
    assert known.of([tenant]) == {}


def test_who_was_met_is_read_ahead_once_a_second(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tenant, known = a_tenant("pro"), KnownTerms()
    known.of([tenant])
    with django_assert_num_queries(0):
        known.read_ahead()
    monkeypatch.setattr(plan_terms, "PLANS_S", 0.0)
    Plan.objects.filter(name="pro").update(weight=9)
    with django_assert_num_queries(2):
        known.read_ahead()

    assert known.of([tenant])[tenant].weight == 9


@pytest.mark.usefixtures("later")
def test_a_plan_that_was_deleted_under_a_tenant_breaks_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, known = a_tenant("leaving"), KnownTerms()
    known.of([moved])
    Tenant.objects.filter(pk=moved).update(plan=Plan.objects.create(name="other", requests_per_minute=1))
    Plan.objects.filter(name="leaving").delete()
    monkeypatch.setattr(plan_terms, "TENANT_S", 60.0)
    time.sleep(0.001)
    known.of([a_tenant("third")])

    assert known.of([moved]) == {}
