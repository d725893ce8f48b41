"""What operators decided about canaries, over what the endpoints declare."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

ALL = Decimal(100)


class CanaryChange(models.Model):
    """From this change on the agent version takes this percentage of the endpoint's runs; 0 is none. The newest of an endpoint holds.

    Never changed and never deleted: it is its own audit.
    """

    endpoint = models.CharField(max_length=120)
    agent_version = models.PositiveIntegerField()
    percent = models.DecimalField(max_digits=5, decimal_places=2)
    reason = models.CharField(max_length=400)
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    changed_at = models.DateTimeField()

    class Meta:
        verbose_name = "canary"
        verbose_name_plural = "canaries"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(percent__gte=0, percent__lt=ALL), name="canary_takes_a_part_or_nothing"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["endpoint", "-id"], name="canary_of_endpoint")]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.percent} %"
