"""Changes of plans, tenants, model quotas and prices: each is written with the record of who made it, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from django.db import transaction
from django.db.models import Model

from quota.domain.changes import Act, Subject, Told, changed
from quota.models import ModelPrice, ModelQuota, Plan, QuotaChange, Tenant

SUBJECTS: Mapping[type[Model], Subject] = MappingProxyType(
    {Plan: Subject.PLAN, Tenant: Subject.TENANT, ModelQuota: Subject.MODEL_QUOTA, ModelPrice: Subject.PRICE}
)
TOLD_ALREADY = frozenset({"id", "set_by", "set_at", "reason"})
NOTHING: Told = MappingProxyType({})


@transaction.atomic
def add(row: Model, *, by: str, now: datetime, reason: str = "") -> None:
    """Add a row, on record."""
    row.save(force_insert=True)
    _record(row, Act.ADDED, NOTHING, told(row), by=by, now=now, reason=reason)


@transaction.atomic
def change(row: Model, *, by: str, now: datetime, reason: str = "") -> None:
    """Save a row that exists, on record; one in which nothing differs is left alone. Two changes at once are told one after the other."""
    stored = type(row)._default_manager.select_for_update(no_key=True).get(pk=row.pk)  # noqa: SLF001  (Django's own name for it)
    if changed(told(stored), told(row)):
        row.save(force_update=True)
        _record(row, Act.CHANGED, told(stored), told(row), by=by, now=now, reason=reason)


@transaction.atomic
def delete(row: Model, *, by: str, now: datetime, reason: str = "") -> None:
    """Delete a row, on record."""
    _record(row, Act.DELETED, told(row), NOTHING, by=by, now=now, reason=reason)
    row.delete()


def told(row: Model) -> dict[str, str | None]:
    """Return a row's fields as text, without its key and what the record says itself."""
    return {field.name: _text(row, field) for field in row._meta.concrete_fields if field.name not in TOLD_ALREADY}  # noqa: SLF001


def _text(row: Model, field: Any) -> str | None:
    value = getattr(row, field.name) if field.is_relation else field.to_python(getattr(row, field.attname))
    return None if value is None or value == "" else str(value)


def _record(row: Model, act: Act, old: Told, new: Told, *, by: str, now: datetime, reason: str) -> None:
    QuotaChange.objects.create(
        at=now,
        by=by,
        act=act,
        subject=SUBJECTS[type(row)],
        subject_id=str(row.pk),
        name=str(row)[:200],
        fields=changed(old, new),
        reason=reason,
    )
