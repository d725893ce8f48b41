"""The output of a batch over HTTP: where it goes, how it is parted, what is told of it, and the catalog."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from invocation.domain.batches import BatchState
from invocation.domain.catalogs import Partition
from invocation.gateways import objects, parquet
from invocation.gateways.catalogs.sql import SqlCatalog
from invocation.gateways.stores import store_at
from invocation.models import Batch, Registration, StoreGrant
from tests.conformance.test_catalogs import a_table
from tests.integration.invocation.api.calling import Account, post, refusal
from tests.integration.invocation.api.test_api_batches import ROWS, open_batch, read

FACTS: dict[str, Any] = {"files": {"results": [], "errors": []}}


@pytest.fixture(autouse=True)
def store(settings: Settings, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


def asked(account: Account, **output: Any) -> Any:
    return post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": {"rows": ROWS}, "output": output})


def test_a_dataset_goes_where_it_is_asked_to_be_in_a_folder_of_its_own(account: Account, store: Path) -> None:
    batch = Batch.objects.get(pk=open_batch(account, output={"uri": "exports/november", "partition_by": ["task"]})["id"])
    usual = Batch.objects.get(pk=open_batch(account)["id"])

    assert batch.output == f"{store.resolve()}/{account.tenant_id}/exports/november/{batch.pk}"
    assert usual.output == f"{store.resolve()}/{account.tenant_id}/batches/{usual.pk}"
    assert (batch.dataset["partition_by"], usual.dataset["partition_by"]) == (["task"], [])
    assert "titles" in batch.dataset["schema"]["properties"]


def test_a_place_in_s3_must_be_granted_for_writing(account: Account) -> None:
    StoreGrant.objects.create(tenant_id=account.tenant_id, prefix="s3://lake/read")
    StoreGrant.objects.create(tenant_id=account.tenant_id, prefix="s3://lake/out", may_write=True)
    StoreGrant.objects.create(tenant_id=uuid4(), prefix="s3://lake/theirs", may_write=True)

    for uri in ("s3://lake/read/x", "s3://lake/theirs", "s3://lake", "s3://lake/out/../theirs", "s3://"):
        assert refusal(asked(account, uri=uri), status=422, code="output_refused")["field"] == "uri"
    batch = Batch.objects.get(pk=asked(account, uri="s3://lake/out/november/").json()["id"])
    assert batch.output == f"s3://lake/out/november/{batch.pk}"


@pytest.mark.parametrize("uri", ["../other", "/etc", "a/../../b"])
def test_no_output_leaves_the_tenants_folder(account: Account, uri: str) -> None:
    refusal(asked(account, uri=uri), status=422, code="output_refused")
    assert not Batch.objects.exists()


@pytest.mark.parametrize("names", [["none"], ["titles"], ["row_id"], ["task", "task"]])
def test_columns_that_part_nothing_are_refused_before_anything_starts(account: Account, names: list[str]) -> None:
    assert refusal(asked(account, partition_by=names), status=422, code="output_refused")["field"] == "partition_by"
    assert not Batch.objects.exists()


def test_results_tell_location_files_and_manifest(account: Account) -> None:
    told = open_batch(account)
    batch = Batch.objects.get(pk=told["id"])
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.COMPLETED, finished_at=datetime.now(UTC), gathered_at=datetime.now(UTC))
    parquet.finish(store_at(batch.output), FACTS)

    assert read(account, told["links"]["results"]) == {"id": told["id"], "location": f"batches/{batch.pk}", "manifest": FACTS}


def test_what_a_cancelled_batch_had_finished_is_told_as_a_part(account: Account) -> None:
    told = open_batch(account)
    batch = Batch.objects.get(pk=told["id"])
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.CANCELLED, finished_at=datetime.now(UTC))
    parquet.finish(store_at(batch.output), {**FACTS, "partial": True}, mark=parquet.PARTIAL)
    refusal(account.api.get(told["links"]["results"]), status=410, code="no_result")

    Batch.objects.filter(pk=batch.pk).update(gathered_at=datetime.now(UTC))
    assert read(account, told["links"]["results"])["manifest"]["partial"] is True


def test_the_catalog_lists_a_tenants_own_tables(account: Account) -> None:
    ours, theirs = a_table(tenant_id=account.tenant_id), a_table()
    for table in (ours, theirs):
        SqlCatalog().register(table)
    SqlCatalog().register(a_table(tenant_id=account.tenant_id, name="other", endpoint="other@1"))

    assert [each["name"] for each in read(account, "/v1/datasets")["items"]] == ["other", ours.name]
    (found,) = read(account, "/v1/datasets?endpoint=enrich@1")["items"]
    assert (found["name"], found["batch"], found["location"], found["rows"]) == (ours.name, str(ours.batch_id), ours.location, ours.rows)
    assert found["columns"][0] == {"name": "row_id", "type": "string"}
    assert [each["name"] for each in read(account, f"/v1/datasets?batch={ours.batch_id}")["items"]] == [ours.name]
    first = read(account, "/v1/datasets?limit=1")
    assert [each["name"] for each in read(account, f"/v1/datasets?limit=1&cursor={first['next']}")["items"]] == [ours.name]


def test_tables_lie_where_their_results_are_told_to(account: Account) -> None:
    own = objects.store_of(account.tenant_id).at("batches/x")
    inside = a_table(tenant_id=account.tenant_id, location=f"{own}/data", partitions=(Partition(("letter",), f"{own}/data/task=letter"),))
    SqlCatalog().register(inside)
    SqlCatalog().register(a_table(tenant_id=account.tenant_id, name="outside", location="s3://lake/x/data"))
    outside, found = read(account, "/v1/datasets")["items"]

    assert (outside["location"], found["location"]) == ("s3://lake/x/data", "batches/x/data")
    assert found["partitions"] == [{"values": ["letter"], "location": "batches/x/data/task=letter"}]


def test_operators_see_the_catalog_and_what_is_still_to_be_registered(admin_client: Client) -> None:
    table = a_table()
    SqlCatalog().register(table)
    row = Registration.objects.create(batch_id=table.batch_id, catalog="glue", due_at=datetime.now(UTC), error="the catalog is away")

    assert table.name in admin_client.get(reverse("admin:invocation_catalogtable_changelist")).content.decode()
    assert "the catalog is away" in admin_client.get(reverse("admin:invocation_registration_changelist")).content.decode()
    assert admin_client.get(reverse("admin:invocation_registration_change", args=[row.pk])).status_code == 200
