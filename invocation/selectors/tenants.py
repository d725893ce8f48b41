"""Tenants' names, for lists whose rows carry only ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from django.db.models import OuterRef, Subquery

from quota.selectors import all_keys

MOST_CHOICES = 200


def name_of(column: str = "tenant_id") -> Subquery:
    """Return an expression for the name of the tenant in `column` of the outer query; who has rows has, or had, a key."""
    keys = all_keys().filter(tenant_id=OuterRef(column)).order_by("pk")
    return Subquery(keys.values("tenant__name")[:1])


def names_of(ids: Collection[UUID]) -> Mapping[UUID, str]:
    """Return the names of these tenants: for rows that lie in another database, where no expression reaches them."""
    return dict(all_keys().filter(tenant_id__in=ids).values_list("tenant_id", "tenant__name"))


def choices() -> list[tuple[str, str]]:
    """Return id and name of the first tenants by name."""
    names = all_keys().order_by("tenant__name").values_list("tenant_id", "tenant__name").distinct()[:MOST_CHOICES]
    return [(str(tenant_id), name) for tenant_id, name in names]
