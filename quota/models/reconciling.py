"""What providers say that was used, to be held against the ledger."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q


class UsageImport(models.Model):
    """One file of a provider's usage. The same bytes are imported once."""

    sha256 = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    lines = models.PositiveIntegerField()
    imported_at = models.DateTimeField()
    imported_by = models.CharField(max_length=150)

    class Meta:
        ordering = ("-imported_at",)

    def __str__(self) -> str:
        return self.name


class ProviderUsage(models.Model):
    """What a provider reported for one UTC day and model; a later import's word replaces an earlier one's."""

    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=120)
    day = models.DateField()
    requests = models.PositiveBigIntegerField()
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    cached_tokens = models.PositiveBigIntegerField()
    cost_usd = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    source = models.ForeignKey(UsageImport, on_delete=models.PROTECT, related_name="days")

    class Meta:
        ordering = ("-day", "provider", "model")
        constraints = (
            models.UniqueConstraint(fields=("day", "provider", "model"), name="provider_reports_a_day_of_a_model_once"),
            models.CheckConstraint(condition=Q(cached_tokens__lte=F("input_tokens")), name="reported_cached_tokens_are_input_tokens"),
            models.CheckConstraint(condition=Q(cost_usd__isnull=True) | Q(cost_usd__gte=0), name="reported_cost_is_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.provider}/{self.model}"
