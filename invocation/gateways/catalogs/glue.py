"""AWS Glue's data catalog: a database with a table for each dataset, as Athena and Spark read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from invocation.domain.catalogs import CatalogAway, Partition, Table

MADE_AT_ONCE = 100
DROPPED_AT_ONCE = 25
"""The most partitions of one call, by Glue's own limits."""
EXISTS = "AlreadyExistsException"
MISSING = "EntityNotFoundException"
PARQUET: Mapping[str, Any] = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
}


class GlueCatalog:
    """One database of Glue's, made when the first table is. Credentials, region and address come from where AWS's programs find them."""

    def __init__(self, database: str) -> None:
        self._database = database

    def register(self, table: Table) -> None:
        with self._client() as glue:
            self._make_database(glue)
            told = {"DatabaseName": self._database, "TableInput": _input(table)}
            try:
                glue.create_table(**told)
            except ClientError as refused:
                _must_be(refused, EXISTS)
                glue.update_table(**told)
            self._part(glue, table)

    def find(self, name: str) -> Table | None:
        with self._client() as glue:
            try:
                found = glue.get_table(DatabaseName=self._database, Name=name)["Table"]
            except ClientError as refused:
                _must_be(refused, MISSING)
                return None
            return _table(found, self._partitions(glue, name) if found.get("PartitionKeys") else ())

    def forget(self, name: str) -> None:
        with self._client() as glue:
            try:
                glue.delete_table(DatabaseName=self._database, Name=name)
            except ClientError as refused:
                _must_be(refused, MISSING)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """Registering is rare: each time has a client of its own, which is closed after it."""
        try:
            config = Config(retries={"mode": "standard", "max_attempts": 2}, connect_timeout=3, read_timeout=10)
            session = boto3.session.Session()
            client = session.client("glue", region_name=session.region_name or "us-east-1", config=config)
            try:
                yield client
            finally:
                client.close()
        except (ClientError, BotoCoreError) as away:
            raise CatalogAway(f"Glue: {away}") from away

    def _make_database(self, glue: Any) -> None:
        try:
            glue.create_database(DatabaseInput={"Name": self._database})
        except ClientError as refused:
            _must_be(refused, EXISTS)

    def _part(self, glue: Any, table: Table) -> None:
        """Make the partitions that are missing, and drop those that are no more."""
        wanted = {partition.values: partition for partition in table.partitions}
        known = {partition.values: partition for partition in self._partitions(glue, table.name)} if table.partition_by else {}
        gone = [values for values, partition in known.items() if wanted.get(values) != partition]
        new = [partition for values, partition in wanted.items() if known.get(values) != partition]
        at = {"DatabaseName": self._database, "TableName": table.name}
        for some in _by(gone, DROPPED_AT_ONCE):
            glue.batch_delete_partition(**at, PartitionsToDelete=[{"Values": list(values)} for values in some])
        for some in _by(new, MADE_AT_ONCE):
            made = glue.batch_create_partition(**at, PartitionInputList=[_partition_input(table, each) for each in some])
            if broken := [error for error in made.get("Errors", ()) if error["ErrorDetail"]["ErrorCode"] != EXISTS]:
                raise CatalogAway(f"Glue: partition {broken[0]['PartitionValues']}: {broken[0]['ErrorDetail']}")

    def _partitions(self, glue: Any, name: str) -> tuple[Partition, ...]:
        pages = glue.get_paginator("get_partitions").paginate(DatabaseName=self._database, TableName=name)
        found = (Partition(tuple(each["Values"]), each["StorageDescriptor"]["Location"]) for page in pages for each in page["Partitions"])
        return tuple(sorted(found, key=lambda each: each.location))


def _input(table: Table) -> dict[str, Any]:
    types = dict(table.columns)
    return {
        "Name": table.name,
        "Description": f"Batch {table.batch_id} of {table.endpoint}",
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [{"Name": name, "Type": types[name]} for name in table.partition_by],
        "StorageDescriptor": _storage(table, table.location),
        "Parameters": {
            "EXTERNAL": "TRUE",
            "classification": "parquet",
            "compressionType": "zstd",
            "numRows": str(table.rows),
            "totalSize": str(table.bytes),
            "gearbox.batch": str(table.batch_id),
            "gearbox.tenant": str(table.tenant_id),
            "gearbox.endpoint": table.endpoint,
            "gearbox.columns": ",".join(types),
        },
    }


def _storage(table: Table, location: str) -> dict[str, Any]:
    columns = [{"Name": name, "Type": kind} for name, kind in table.columns if name not in table.partition_by]
    return {**PARQUET, "Columns": columns, "Location": location}


def _partition_input(table: Table, partition: Partition) -> dict[str, Any]:
    return {"Values": list(partition.values), "StorageDescriptor": _storage(table, partition.location)}


def _table(found: Mapping[str, Any], partitions: Sequence[Partition]) -> Table:
    told, keys = found["Parameters"], found.get("PartitionKeys", ())
    types = {column["Name"]: column["Type"] for column in (*found["StorageDescriptor"]["Columns"], *keys)}
    order = {name.lower(): place for place, name in enumerate(told["gearbox.columns"].split(","))}
    return Table(
        name=found["Name"],
        batch_id=UUID(told["gearbox.batch"]),
        tenant_id=UUID(told["gearbox.tenant"]),
        endpoint=told["gearbox.endpoint"],
        location=found["StorageDescriptor"]["Location"],
        columns=tuple(sorted(types.items(), key=lambda column: order[column[0].lower()])),
        partition_by=tuple(key["Name"] for key in keys),
        partitions=tuple(partitions),
        rows=int(told["numRows"]),
        bytes=int(told["totalSize"]),
    )


def _must_be(refused: ClientError, code: str) -> None:
    if refused.response.get("Error", {}).get("Code") != code:
        raise refused


def _by(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
