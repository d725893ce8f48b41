"""Quota in the admin."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from quota.domain import keys as forms
from quota.models import ApiKey, ModelQuota, Plan, Tenant
from quota.services import keys, ledger
from tests.integration.quota.conftest import NOW
from tests.integration.quota.lines import a_line


@pytest.fixture
def tenant(plan: Plan) -> Tenant:
    tenant, _ = keys.create(tenant_name=uuid4().hex, plan=plan.name, now=NOW)
    return tenant


def _add_key(client: Client, tenant: Tenant) -> str:
    form = {"tenant": tenant.pk, "name": "by hand", "scopes": ["read"], "highest_class": "p2"}
    page = client.post(reverse("admin:quota_apikey_add"), form, follow=True)
    return next(word for word in page.content.decode().replace("<", " ").split() if word.startswith("gbx_") and len(word) == 56)


def test_a_key_added_in_the_admin_is_shown_once_and_works(admin_client: Client, tenant: Tenant) -> None:
    text = _add_key(admin_client, tenant)
    page = admin_client.get(reverse("admin:quota_apikey_change", args=[ApiKey.objects.get(name="by hand").pk]))

    assert keys.authenticate(text, now=NOW).tenant_id == tenant.pk
    assert forms.split(text).secret not in page.content.decode()
    assert forms.split(text).digest not in page.content.decode()


def test_keys_are_revoked_in_the_admin_not_deleted(admin_client: Client, tenant: Tenant) -> None:
    key = tenant.keys.get()
    admin_client.post(reverse("admin:quota_apikey_changelist"), {"action": "revoke", "_selected_action": [key.pk]}, follow=True)
    key.refresh_from_db()

    assert key.revoked_at is not None
    assert admin_client.post(reverse("admin:quota_apikey_delete", args=[key.pk])).status_code == 403


def test_the_admin_refuses_a_cap_that_reaches_into_the_reserve(admin_client: Client) -> None:
    form = {"provider": "test", "model": "m", "tokens_per_minute": 2000, "requests_per_minute": 10, "p0_reserved": 0.5, "p3_cap": 0.6}
    page = admin_client.post(reverse("admin:quota_modelquota_add"), form)

    assert "must not exceed 1" in page.content.decode().replace("&#x27;", "'")
    assert not ModelQuota.objects.filter(provider="test").exists()


@pytest.mark.parametrize("wrong", [{"p0_reserved": 0.95}, {"p3_cap": 0.01}, {"p3_cap": 0.8}, {"tokens_per_minute": 999}])
def test_the_database_refuses_a_quota_that_makes_no_sense(db: None, wrong: dict[str, float]) -> None:
    sound = {"tokens_per_minute": 2000, "requests_per_minute": 10, "p0_reserved": 0.3, "p3_cap": 0.6}

    with pytest.raises(IntegrityError):
        ModelQuota.objects.create(provider="test", model="m", **{**sound, **wrong})


def test_the_ledger_is_read_only_in_the_admin(admin_client: Client) -> None:
    ledger.append([a_line()])

    assert "chat@1" in admin_client.get(reverse("admin:quota_ledgerentry_changelist")).content.decode()
    assert admin_client.get(reverse("admin:quota_ledgerentry_add")).status_code == 403


@pytest.mark.parametrize("table", ["plan", "tenant", "apikey", "modelquota", "ledgerentry", "modelprice", "quotachange"])
def test_every_table_has_a_page(admin_client: Client, tenant: Tenant, table: str) -> None:
    assert admin_client.get(reverse(f"admin:quota_{table}_changelist")).status_code == 200
