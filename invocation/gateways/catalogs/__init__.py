"""Catalogs: where programs that read datasets look for them. One port, and the catalogs that this installation has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from django.conf import settings

from invocation.domain.catalogs import Table


class Catalog(Protocol):
    """A list of tables by name. Each method raises CatalogAway, and may be called again."""

    def register(self, table: Table) -> None:
        """List a table; listed before, it is as it is now, with these partitions and no others."""

    def find(self, name: str) -> Table | None:
        """Return what the catalog says of a table; None if it is not listed."""

    def forget(self, name: str) -> None:
        """List a table no more. What is gone already stays gone; its files stay."""


def names_for(location: str) -> list[str]:
    """Return the names of the catalogs that list a dataset at this location: Glue lists what lies in S3."""
    return ["sql", *(["glue"] if settings.GLUE_DATABASE and location.startswith("s3://") else [])]


def catalog(name: str) -> Catalog:
    return _MADE[name]()


def _sql() -> Catalog:
    from invocation.gateways.catalogs.sql import SqlCatalog  # noqa: PLC0415  (each knows what the other need not load)

    return SqlCatalog()


def _glue() -> Catalog:
    from invocation.gateways.catalogs.glue import GlueCatalog  # noqa: PLC0415  (boto3: only who uses it loads it)

    return GlueCatalog(settings.GLUE_DATABASE)


_MADE: Mapping[str, Callable[[], Catalog]] = MappingProxyType({"sql": _sql, "glue": _glue})
