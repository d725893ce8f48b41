"""The local catalog: a table of this installation's database, read by API and admin."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import DatabaseError

from invocation.domain.catalogs import CatalogAway, Partition, Table
from invocation.models import CatalogTable


class SqlCatalog:
    def register(self, table: Table) -> None:
        facts = {
            "batch_id": table.batch_id,
            "tenant_id": table.tenant_id,
            "endpoint": table.endpoint,
            "location": table.location,
            "columns": [{"name": name, "type": kind} for name, kind in table.columns],
            "partition_by": list(table.partition_by),
            "partitions": [{"values": list(each.values), "location": each.location} for each in table.partitions],
            "rows": table.rows,
            "bytes": table.bytes,
            "registered_at": datetime.now(UTC),
        }
        try:
            CatalogTable.objects.update_or_create(name=table.name, defaults=facts)
        except DatabaseError as away:
            raise CatalogAway(str(away)) from away

    def find(self, name: str) -> Table | None:
        row = CatalogTable.objects.filter(name=name).first()
        return None if row is None else _table(row)

    def forget(self, name: str) -> None:
        CatalogTable.objects.filter(name=name).delete()


def _table(row: CatalogTable) -> Table:
    return Table(
        name=row.name,
        batch_id=row.batch_id,
        tenant_id=row.tenant_id,
        endpoint=row.endpoint,
        location=row.location,
        columns=tuple((column["name"], column["type"]) for column in row.columns),
        partition_by=tuple(row.partition_by),
        partitions=tuple(Partition(tuple(each["values"]), each["location"]) for each in row.partitions),
        rows=row.rows,
        bytes=row.bytes,
    )
