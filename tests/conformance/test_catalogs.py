"""One suite for every catalog: the local one and AWS Glue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from invocation.domain.catalogs import CatalogAway, Partition, Table, name_of, tables_of
from invocation.gateways.catalogs import Catalog, names_for
from invocation.gateways.catalogs.glue import GlueCatalog
from invocation.gateways.catalogs.sql import SqlCatalog
from tests import aws

pytestmark = pytest.mark.django_db


@pytest.fixture
def glue(aws_address: str, s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> GlueCatalog:
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", aws_address)
    return GlueCatalog(f"database_{uuid4().hex}")


@pytest.fixture(params=["sql", "glue"])
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return SqlCatalog() if request.param == "sql" else request.getfixturevalue("glue")


def a_table(**changed: Any) -> Table:
    batch_id = uuid4()
    table = Table(
        name=name_of("enrich@1", batch_id, "results"),
        batch_id=batch_id,
        tenant_id=uuid4(),
        endpoint="enrich@1",
        location="s3://lake/out/data",
        columns=(("row_id", "string"), ("Title", "string"), ("tags", "array<string>"), ("cost_usd", "decimal(14,6)"), ("task", "string")),
        partition_by=(),
        partitions=(),
        rows=4_000_000,
        bytes=123_456,
    )
    return replace(table, **changed)


def parted(*tasks: str) -> Table:
    partitions = tuple(Partition((task,), f"s3://lake/out/data/task={task}") for task in tasks)
    return a_table(partition_by=("task",), partitions=partitions)


def test_a_table_is_found_as_it_was_registered(catalog: Catalog) -> None:
    table = a_table()
    catalog.register(table)

    assert catalog.find(table.name) == table
    assert catalog.find("another") is None


def test_registered_again_it_is_as_it_is_now(catalog: Catalog) -> None:
    table = a_table()
    catalog.register(table)
    catalog.register(table)
    later = replace(table, rows=5, location="s3://lake/elsewhere/data", columns=(*table.columns, ("more", "bigint")))
    catalog.register(later)

    assert catalog.find(table.name) == later


def test_partitions_come_and_go(catalog: Catalog) -> None:
    table = parted("answer", "letter")
    catalog.register(table)
    assert catalog.find(table.name) == table

    changed = replace(table, partitions=(Partition(("letter",), "s3://lake/new/data/task=letter"), *parted("refund").partitions))
    catalog.register(changed)
    found = catalog.find(table.name)
    assert found is not None
    assert set(found.partitions) == set(changed.partitions)


def test_more_partitions_than_one_call_takes(catalog: Catalog) -> None:
    table = parted(*(f"task-{number:03d}" for number in range(120)))
    catalog.register(table)
    catalog.register(replace(table, partitions=table.partitions[:60]))

    assert catalog.find(table.name) == replace(table, partitions=table.partitions[:60])


def test_what_is_forgotten_is_gone_and_stays_gone(catalog: Catalog) -> None:
    table = a_table()
    catalog.register(table)
    catalog.forget(table.name)
    catalog.forget(table.name)

    assert catalog.find(table.name) is None


def test_glue_says_what_athena_needs(glue: GlueCatalog, aws_address: str) -> None:
    table = parted("letter")
    glue.register(table)
    with aws.client("glue", aws_address) as client:
        found = client.get_table(DatabaseName=glue._database, Name=table.name)["Table"]

    assert [column["Name"] for column in found["StorageDescriptor"]["Columns"]] == ["row_id", "Title", "tags", "cost_usd"]
    assert found["PartitionKeys"] == [{"Name": "task", "Type": "string"}]
    assert found["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"].endswith("ParquetHiveSerDe")
    assert (found["Parameters"]["classification"], found["Parameters"]["numRows"]) == ("parquet", "4000000")


def test_a_catalog_that_is_away_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", "http://127.0.0.1:9")
    with pytest.raises(CatalogAway):
        GlueCatalog("nowhere").register(a_table())


def test_glue_lists_what_lies_in_s3_only(settings: object) -> None:
    assert names_for("s3://lake/out") == ["sql"]
    settings.GLUE_DATABASE = "gearbox"  # type: ignore[attr-defined]
    assert names_for("s3://lake/out") == ["sql", "glue"]
    assert names_for("/objects/out") == ["sql"]


def test_a_dataset_is_two_tables_and_one_without_rows_is_none() -> None:
    manifest = {
        "batch": "0199f3a0-0000-7000-8000-000000000001",
        "endpoint": "Enrich-It@1",
        "columns": [{"name": "row_id", "type": "string"}, {"name": "task", "type": "string"}],
        "partition_by": ["task"],
        "files": {
            "results": [
                {"file": "data/task=a%2Fb/part-1.parquet", "rows": 2, "bytes": 10},
                {"file": "data/task=a%2Fb/part-2.parquet", "rows": 3, "bytes": 10},
                {"file": "data/task=c/part-1.parquet", "rows": 1, "bytes": 10},
            ],
            "errors": [],
        },
    }
    (table,) = tables_of(manifest, tenant_id=UUID(int=1), location="s3://lake/out")

    assert table.name == "enrich_it_1_0199f3a0000070008000000000000001"
    assert table.partitions == (Partition(("a/b",), "s3://lake/out/data/task=a%2Fb"), Partition(("c",), "s3://lake/out/data/task=c"))
    assert (table.rows, table.bytes, table.location) == (6, 30, "s3://lake/out/data")
