"""Grants of places in S3: what a tenant may reach outside of its own folder, and who says so."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from invocation.models import StoreGrant
from invocation.selectors.grants import granted
from tests.integration.invocation.records import a_named_tenant

pytestmark = pytest.mark.django_db


def test_a_grant_is_for_one_tenant_one_prefix_and_reading() -> None:
    ours, theirs = uuid4(), uuid4()
    StoreGrant.objects.create(tenant_id=ours, prefix="s3://lake/lists")

    assert granted(ours, "s3://lake/lists")
    assert granted(ours, "s3://lake/lists/november.jsonl")
    assert not granted(ours, "s3://lake/lists/november.jsonl", writes=True)
    assert not granted(ours, "s3://lake/lists-of-others/x")
    assert not granted(ours, "s3://lake/lists/../secret")
    assert not granted(ours, "s3://lake")
    assert not granted(theirs, "s3://lake/lists/november.jsonl")


def test_a_place_to_write_is_one_to_read() -> None:
    ours = uuid4()
    StoreGrant.objects.create(tenant_id=ours, prefix="s3://lake/out", may_write=True)

    assert granted(ours, "s3://lake/out/november", writes=True)
    assert granted(ours, "s3://lake/out/november")


@pytest.mark.parametrize("prefix", ["s3://lake", "s3://lake/all", "s3://lake/all/of-another-tenant"])
def test_no_grant_opens_the_object_store(settings: Any, prefix: str) -> None:
    settings.OBJECT_STORE = "s3://lake/all"
    ours = uuid4()
    StoreGrant.objects.create(tenant_id=ours, prefix=prefix)

    assert not granted(ours, "s3://lake/all/of-another-tenant/x")
    assert granted(ours, "s3://lake/beside") == (prefix == "s3://lake")


@pytest.mark.parametrize("prefix", ["/a", "s3://", "s3://lake/", "s3://lake//a", "s3://lake/../a", "http://lake"])
def test_the_database_keeps_prefixes_plain(prefix: str) -> None:
    with pytest.raises(IntegrityError, match="granted_prefix_is_plain"):
        StoreGrant.objects.create(tenant_id=uuid4(), prefix=prefix)


def test_an_administrator_grants_by_form(admin_client: Client, settings: Any) -> None:
    settings.OBJECT_STORE = "s3://lake/all"
    tenant = a_named_tenant("Kiosk")
    address = reverse("admin:invocation_storegrant_add")

    refused = admin_client.post(address, {"tenant_id": str(tenant), "prefix": "s3://lake", "may_write": "on"})
    assert "where all tenants" in refused.content.decode()
    admin_client.post(address, {"tenant_id": str(tenant), "prefix": "s3://lake/kiosk/", "may_write": "on"})
    row = StoreGrant.objects.get()

    assert (row.tenant_id, row.prefix, row.may_write) == (tenant, "s3://lake/kiosk", True)
    assert "Kiosk" in admin_client.get(reverse("admin:invocation_storegrant_changelist")).content.decode()
    assert admin_client.get(reverse("admin:invocation_storegrant_change", args=[row.pk])).status_code == 200
