"""Places outside of the object store that a tenant may use: given and taken by administrators only."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class StoreGrant(models.Model):
    """A tenant may read what lies below an `s3://bucket/prefix`, and write there where that is said."""

    tenant_id = models.UUIDField()
    prefix = models.CharField(max_length=900)
    may_write = models.BooleanField(default=False)
    granted_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tenant_id", "prefix"], name="prefix_is_granted_once"),
            models.CheckConstraint(
                condition=Q(prefix__regex=r"^s3://[^/]+(/[^/]+)*$") & ~Q(prefix__regex=r"/\.{1,2}(/|$)"), name="granted_prefix_is_plain"
            ),
        ]

    def __str__(self) -> str:
        return self.prefix
