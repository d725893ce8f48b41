"""Money in the admin: prices, the record of changes, usage and gauges."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, connections, transaction
from django.test import AsyncClient, Client
from django.urls import reverse
from pytest_django import Settings

from quota.admin import charts
from quota.domain.asks import Ask
from quota.domain.classes import PriorityClass
from quota.gateways import connection
from quota.models import ModelPrice, ModelQuota, Plan, QuotaChange, Tenant
from quota.services import admission, ledger, limits, prices, usage
from tests.integration.quota.lines import a_line

OURS = {"provider": "ours", "model": "tuned", "input_usd": "3", "output_usd": "15", "cached_usd": "0.3", "reason": "a contract"}
QUOTA: dict[str, Any] = {
    "provider": "test",
    "model": "m",
    "tokens_per_minute": 2000,
    "requests_per_minute": 10,
    "p0_reserved": 0.3,
    "p3_cap": 0.6,
    "day_zone": "UTC",
}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    prices.forget()
    limits.forget()
    yield
    prices.forget()
    limits.forget()


def _errors(page: Any) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = page.context["adminform"].form.errors
    return errors


def _form(form: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {**form, "valid_from_0": "", "valid_from_1": "", **facts}


def test_a_price_set_in_the_admin_holds_and_is_on_record(admin_client: Client) -> None:
    admin_client.post(reverse("admin:quota_modelprice_add"), _form(OURS))
    found = prices.effective("ours", "tuned", at=datetime.now(UTC) + timedelta(seconds=1))
    told = QuotaChange.objects.get()

    assert (found.source, found.price.output) == ("override", Decimal(15))
    assert (told.by, told.act, told.subject, told.reason) == ("admin", "added", "price", "a contract")
    assert told.fields["output_usd"][0] is None
    assert Decimal(told.fields["output_usd"][1]) == 15


def test_the_page_of_prices_says_what_holds_and_who_says_so(admin_client: Client) -> None:
    ModelQuota.objects.create(**QUOTA)
    admin_client.post(reverse("admin:quota_modelprice_add"), _form(OURS))
    shown = {
        each["name"]: str(each["source"]) for each in admin_client.get(reverse("admin:quota_modelprice_changelist")).context["effective"]
    }

    assert "override" in shown["ours/tuned"]
    assert "offline" in shown["offline/gearbox-offline-economy"]
    assert "calls are refused" in shown["test/m"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"cached_usd": ""}, "cached_usd"),
        ({"input_usd": "-1"}, "input_usd"),
        ({"valid_from_0": "2020-01-01", "valid_from_1": "00:00"}, "valid_from"),
        ({"reason": ""}, "reason"),
        ({"input_usd": "", "output_usd": "", "cached_usd": ""}, "input_usd"),
    ],
)
def test_a_wrong_price_is_refused_at_its_field(admin_client: Client, wrong: dict[str, str], field: str) -> None:
    page = admin_client.post(reverse("admin:quota_modelprice_add"), _form(OURS, **wrong))

    assert field in _errors(page)
    assert not ModelPrice.objects.exists()


def test_a_price_in_effect_cannot_be_deleted_in_the_admin(admin_client: Client) -> None:
    admin_client.post(reverse("admin:quota_modelprice_add"), _form(OURS))
    price = ModelPrice.objects.get()

    assert admin_client.post(reverse("admin:quota_modelprice_delete", args=[price.pk]), {"post": "yes"}).status_code == 403
    admin_client.post(
        reverse("admin:quota_modelprice_changelist"),
        {"action": "delete_selected", "_selected_action": [price.pk], "post": "yes"},
        follow=True,
    )
    assert ModelPrice.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"p3_cap": 0.8}, "p3_cap"),
        ({"p0_reserved": 0.95}, "p0_reserved"),
        ({"tokens_per_minute": 999}, "tokens_per_minute"),
        ({"day_zone": "Mars/Olympus"}, "day_zone"),
    ],
)
def test_a_wrong_quota_is_refused_at_its_field(admin_client: Client, wrong: dict[str, Any], field: str) -> None:
    page = admin_client.post(reverse("admin:quota_modelquota_add"), {**QUOTA, **wrong})

    assert field in _errors(page)
    assert "__all__" not in _errors(page)


def test_a_quota_is_changed_on_record_with_old_and_new(admin_client: Client) -> None:
    row = ModelQuota.objects.create(**QUOTA)
    admin_client.post(reverse("admin:quota_modelquota_change", args=[row.pk]), {**QUOTA, "tokens_per_minute": 5000})
    told = QuotaChange.objects.get()

    assert (told.by, told.act, told.subject, told.subject_id) == ("admin", "changed", "model_quota", str(row.pk))
    assert told.fields == {"tokens_per_minute": ["2000", "5000"]}
    assert "<del>2000</del>" in admin_client.get(reverse("admin:quota_modelquota_change", args=[row.pk])).content.decode()


def test_saving_what_is_unchanged_leaves_no_record(admin_client: Client) -> None:
    row = ModelQuota.objects.create(**QUOTA)
    admin_client.post(reverse("admin:quota_modelquota_change", args=[row.pk]), QUOTA)

    assert not QuotaChange.objects.exists()


def test_plans_and_tenants_are_changed_on_record_and_deleted_so(admin_client: Client, plan: Plan) -> None:
    form = {"name": "trial", "in_flight_p0": 20, "in_flight_p1": 20, "requests_per_minute": 5, "weight": 4}
    admin_client.post(reverse("admin:quota_plan_change", args=[plan.pk]), form)
    admin_client.post(reverse("admin:quota_tenant_add"), {"name": "Mandarake", "plan": plan.pk, "is_active": "on"})
    tenant = Tenant.objects.get(name="Mandarake")
    admin_client.post(
        reverse("admin:quota_tenant_changelist"), {"action": "delete_selected", "_selected_action": [tenant.pk], "post": "yes"}
    )
    told = list(QuotaChange.objects.order_by("id").values_list("subject", "act", "name"))

    assert told == [("plan", "changed", "trial"), ("tenant", "added", "Mandarake"), ("tenant", "deleted", "Mandarake")]
    assert QuotaChange.objects.order_by("id")[0].fields == {"requests_per_minute": ["3", "5"]}


def test_the_record_of_changes_is_only_read(admin_client: Client, plan: Plan) -> None:
    admin_client.post(reverse("admin:quota_tenant_add"), {"name": "Mandarake", "plan": plan.pk, "is_active": "on"})
    told = QuotaChange.objects.get()

    assert "Mandarake" in admin_client.get(reverse("admin:quota_quotachange_changelist")).content.decode()
    assert admin_client.post(reverse("admin:quota_quotachange_delete", args=[told.pk]), {"post": "yes"}).status_code == 403
    for refused in (lambda: QuotaChange.objects.update(by="nobody"), told.delete):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            refused()


def _used(plan: Plan) -> Tenant:
    tenant = Tenant.objects.create(name="Mandarake", plan=plan)
    now = datetime.now(UTC)
    ledger.append([a_line(tenant_id=tenant.pk, at=now, cost_usd=Decimal(3), cached_tokens=350), a_line(at=now - timedelta(days=2))])
    usage.sweep(now=now)
    ledger.append([a_line(at=now, endpoint="enrich@1", mode="batch-window", cost_usd=Decimal(1), estimated=True)])
    return tenant


def test_usage_is_seen_at_a_glance(admin_client: Client, plan: Plan) -> None:
    _used(plan)
    page = admin_client.get(reverse("admin:quota_usage"))
    figures, tops = dict(page.context["figures"]), dict(page.context["tops"])

    assert (figures["Spent"], figures["Calls"]) == ("$4.00", "3")
    assert figures["Cached share of input"] == f"{350 / 2100:.1%}"
    assert figures["Estimated share of cost"] == "25.0%"
    assert next(rank.name for rank in tops["Tenants"]) == "Mandarake"
    assert {series for series, _ in page.context["chart"].legend} == {"streaming-sync", "batch-window"}
    assert 'role="img"' in page.content.decode()


def test_usage_is_filtered_and_a_wrong_filter_is_told(admin_client: Client, plan: Plan) -> None:
    _used(plan)

    assert dict(admin_client.get(reverse("admin:quota_usage") + "?tenant=Mandarake").context["figures"])["Spent"] == "$3.00"
    assert dict(admin_client.get(reverse("admin:quota_usage") + "?mode=batch-window").context["figures"])["Calls"] == "1"
    assert "no tenant called nobody" in admin_client.get(reverse("admin:quota_usage") + "?tenant=nobody").content.decode()
    assert "behind the last" in admin_client.get(reverse("admin:quota_usage") + "?first=2026-02-02&last=2026-02-01").content.decode()


@pytest.mark.django_db(transaction=True)
async def test_the_selection_can_be_taken_away_as_a_table() -> None:
    def prepare() -> User:
        plan, _ = Plan.objects.get_or_create(name="trial", defaults={"requests_per_minute": 3})
        tenant = Tenant.objects.create(name="=HYPERLINK(evil)", plan=plan)
        ledger.append([a_line(tenant_id=tenant.pk, at=datetime.now(UTC)), a_line(at=datetime.now(UTC), mode="batch-window")])
        return User.objects.create_superuser("root", password="a-long-password")

    client = AsyncClient()
    await client.aforce_login(await sync_to_async(prepare)())
    answer: Any = await client.get(reverse("admin:quota_usage") + "?format=csv&by=tenant&mode=streaming-sync")
    text = b"".join([part async for part in answer.streaming_content]).decode()
    head, row = csv.reader(io.StringIO(text))
    await sync_to_async(connections.close_all)()

    assert head[:3] == ["day", "tenant", "calls"]
    assert row[1:3] == ["'=HYPERLINK(evil)", "1"]


def test_usage_and_gauges_are_for_those_who_may_see_them(client: Client) -> None:
    clerk = User.objects.create_user("clerk", password="a-long-password", is_staff=True)
    client.force_login(clerk)
    names = ("admin:quota_usage", "admin:quota_gauges", "admin:quota_gauges_now")

    assert [client.get(reverse(name)).status_code for name in names] == [403, 403, 403]
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=["view_ledgerentry", "view_modelquota"]))
    assert [client.get(reverse(name)).status_code for name in names] == [200, 200, 200]


def test_a_stranger_is_sent_to_the_door(client: Client) -> None:
    assert client.get(reverse("admin:quota_gauges_now")).status_code == 302


def test_the_gauges_show_each_class_beside_reserve_and_cap(admin_client: Client) -> None:
    name = uuid4().hex
    ModelQuota.objects.create(**{**QUOTA, "model": name, "tokens_per_minute": 40_000, "requests_per_minute": 400})
    async_to_sync(_reserve)(name)
    html = admin_client.get(reverse("admin:quota_gauges_now")).json()["html"]
    (told,) = re.findall(rf'aria-label="(test/{name}, tokens[^"]*)"', html)

    assert told == f"test/{name}, tokens a minute: p0 1,000, p1 300, p2 200, p3 400, free 38,100 of 40,000"
    assert 'style="left:70.00%"' in html
    assert 'style="left:60.00%"' in html


async def _reserve(model: str) -> None:
    asked = {PriorityClass.P0: 1000, PriorityClass.P1: 300, PriorityClass.P2: 200, PriorityClass.P3: 400}
    for priority_class, tokens in asked.items():
        ask = Ask(provider="test", model=model, priority_class=priority_class, tokens=tokens, tenant=uuid4())
        await admission.reserve(ask, patience=timedelta(0))
    await connection.aclose()


def test_without_the_quota_store_the_gauges_page_says_so(admin_client: Client, settings: Settings, nowhere: str) -> None:
    settings.REDIS_URL = nowhere
    connection.in_threads.cache_clear()
    try:
        page = admin_client.get(reverse("admin:quota_gauges")).content.decode()
    finally:
        connection.in_threads.cache_clear()

    assert "The quota store is away" in page


def test_a_chart_is_as_high_as_the_next_round_sum() -> None:
    day = datetime(2026, 11, 20, tzinfo=UTC).date()
    drawn = charts.by_day({(day, "a"): Decimal("1.5"), (day, "b"): Decimal("0.5")}, ["a", "b"], first=day, last=day + timedelta(days=1))

    assert [tick.label for tick in drawn.ticks] == ["$0.00", "$0.5000", "$1.00", "$1.50", "$2.00"]
    assert [(piece.series, piece.y, piece.height) for piece in drawn.columns[0].pieces] == [
        ("a", "40.00", "120.00"),
        ("b", "0.00", "40.00"),
    ]
    assert drawn.columns[1].pieces == []


def test_the_others_stand_together_at_the_end() -> None:
    shown = charts.ranked([("a", Decimal(1)), ("b", Decimal(6)), ("c", Decimal(3))], most=1)

    assert [(rank.name, rank.cost, rank.share) for rank in shown] == [("b", "$6.00", "60%"), ("2 others", "$4.00", "40%")]
