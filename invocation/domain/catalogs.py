"""What a catalog is told of a published dataset: a table for its results, and one for its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from uuid import UUID

FOLDERS = {"results": "data", "errors": "errors"}
ENDINGS = {"results": "", "errors": "_errors"}
UNPLAIN = re.compile("[^a-z0-9]+")


class CatalogAway(Exception):
    """A catalog could not be reached, or refused. The dataset is whole all the same; it is registered later."""


@dataclass(frozen=True, slots=True)
class Partition:
    """The values of the columns that part a table, in their order, and the folder of these rows."""

    values: tuple[str, ...]
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table over Parquet files. `columns` are names and Hive types; those in `partition_by` are not in the files."""

    name: str
    batch_id: UUID
    tenant_id: UUID
    endpoint: str
    location: str
    columns: tuple[tuple[str, str], ...]
    partition_by: tuple[str, ...]
    partitions: tuple[Partition, ...]
    rows: int
    bytes: int


def name_of(endpoint: str, batch_id: UUID, kind: str) -> str:
    """Return a table's name, such as `enrich_1_0199f…_errors`: nobody else's, in the letters that every catalog takes."""
    return f"{UNPLAIN.sub('_', endpoint.lower()).strip('_')[:120]}_{batch_id.hex}{ENDINGS[kind]}"


def tables_of(manifest: Mapping[str, Any], *, tenant_id: UUID, location: str) -> Iterator[Table]:
    """Yield the tables of a dataset, which lies at the location and of which this is the manifest; a kind without rows has none."""
    batch_id = UUID(manifest["batch"])
    for kind, files in manifest["files"].items():
        parted = tuple(manifest["partition_by"]) if kind == "results" else ()
        base = f"{location}/{FOLDERS[kind]}"
        if files:
            yield Table(
                name=name_of(manifest["endpoint"], batch_id, kind),
                batch_id=batch_id,
                tenant_id=tenant_id,
                endpoint=manifest["endpoint"],
                location=base,
                columns=tuple((column["name"], column["type"]) for column in manifest["columns"]),
                partition_by=parted,
                partitions=tuple(_partitions(files, location, FOLDERS[kind])) if parted else (),
                rows=sum(file["rows"] for file in files),
                bytes=sum(file["bytes"] for file in files),
            )


def _partitions(files: list[Mapping[str, Any]], location: str, base: str) -> Iterator[Partition]:
    for folder in sorted({file["file"].removeprefix(f"{base}/").rpartition("/")[0] for file in files}):
        yield Partition(tuple(unquote(step.partition("=")[2]) for step in folder.split("/")), f"{location}/{base}/{folder}")
