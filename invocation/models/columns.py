"""Columns that several tables share, and the constraint that ties a column to an enum."""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.db.models import Q
from uuid6 import uuid7


def one_of(column: str, values: type[StrEnum], *, name: str) -> models.CheckConstraint:
    """The column holds a value of the enum: the database keeps the same list as the code."""
    return models.CheckConstraint(condition=Q(**{f"{column}__in": [str(value) for value in values]}), name=name)


class Invoked(models.Model):
    """What every invocation has: whose it is, what it calls and the trace it belongs to."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant_id = models.UUIDField()
    endpoint = models.CharField(max_length=120)
    agent = models.CharField(max_length=120)
    mode = models.CharField(max_length=24)
    traceparent = models.CharField(max_length=64)

    class Meta:
        abstract = True


class Held(models.Model):
    """What a worker process holds: the attempt that fences every write, and the process that owns it.

    The lease itself is the process's own row, so that one heartbeat renews all.
    """

    attempt = models.PositiveIntegerField(default=0)
    owner = models.UUIDField(null=True, blank=True)

    class Meta:
        abstract = True
