"""Worker processes with their leases, and holds of admission."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from invocation.models.columns import one_of


class Process(models.Model):
    """A worker process that lives. Its lease is the lease of everything that it holds."""

    id = models.UUIDField(primary_key=True)
    priority_class = models.CharField(max_length=8)
    slots = models.PositiveIntegerField()
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    presence = models.BigIntegerField(unique=True)
    started_at = models.DateTimeField()
    lease_until = models.DateTimeField()
    is_draining = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return f"{self.priority_class}@{self.host}:{self.pid}"


class HoldScope(StrEnum):
    ENDPOINT = "endpoint"
    AGENT = "agent"
    TENANT = "tenant"
    CLASS = "class"


class Hold(models.Model):
    """Nothing new is let in for `value` until the hold is released. Never deleted: it is its own audit."""

    scope = models.CharField(max_length=16, choices=[(scope.value, scope.value) for scope in HoldScope])
    value = models.CharField(max_length=120)
    reason = models.CharField(max_length=400)
    held_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    held_at = models.DateTimeField()
    released_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("scope", HoldScope, name="hold_scope_is_known"),
            models.UniqueConstraint(fields=["scope", "value"], condition=Q(released_at__isnull=True), name="held_once_at_a_time"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.value}"
