"""What was used: the ledger, and its sums by day."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from quota.domain.classes import PriorityClass
from quota.domain.ledger import ParentKind
from quota.models.columns import choices

SUMMED_BY = ("tenant_id", "day", "endpoint", "mode", "priority_class", "provider", "model")


class Line(models.Model):
    """What one model call used and cost. Rows are only ever added; triggers refuse to change, delete or empty them.

    `call_id` names the call, so that a line that is booked again, because nobody heard that it was
    booked, is not booked twice. The three prices are those that were applied: a line explains its
    own cost after any change of prices. Lines from before they were kept have neither.
    """

    call_id = models.UUIDField(null=True, unique=True)
    tenant_id = models.UUIDField()
    endpoint = models.CharField(max_length=80)
    mode = models.CharField(max_length=20)
    priority_class = models.CharField(max_length=2, choices=choices(PriorityClass))
    run_id = models.UUIDField()
    parent_kind = models.CharField(max_length=10, choices=choices(ParentKind))
    parent_id = models.CharField(max_length=64)
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=120)
    input_tokens = models.PositiveIntegerField()
    output_tokens = models.PositiveIntegerField()
    cached_tokens = models.PositiveIntegerField()
    input_price = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    output_price = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    cached_price = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=6)
    estimated = models.BooleanField()
    at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.model} {self.cost_usd} USD"


class LedgerEntry(Line):
    """A call of a turn, a job or a firing."""

    class Meta:
        verbose_name_plural = "ledger"
        indexes = (
            models.Index(fields=("tenant_id", "at"), name="ledger_by_tenant_and_time"),
            models.Index(fields=("at",), name="ledger_by_time"),
        )
        constraints = (
            models.CheckConstraint(condition=Q(cost_usd__gte=0), name="ledger_cost_is_not_negative"),
            models.CheckConstraint(condition=Q(cached_tokens__lte=F("input_tokens")), name="cached_tokens_are_input_tokens"),
        )


class Sums(models.Model):
    """A ledger's sums of one UTC day, up to where the mark stands; what came later is read from the ledger itself."""

    tenant_id = models.UUIDField()
    day = models.DateField()
    endpoint = models.CharField(max_length=80)
    mode = models.CharField(max_length=20)
    priority_class = models.CharField(max_length=2, choices=choices(PriorityClass))
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=120)
    calls = models.PositiveBigIntegerField()
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    cached_tokens = models.PositiveBigIntegerField()
    cost_usd = models.DecimalField(max_digits=20, decimal_places=6)
    estimated_calls = models.PositiveBigIntegerField()
    estimated_tokens = models.PositiveBigIntegerField()
    estimated_usd = models.DecimalField(max_digits=20, decimal_places=6)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.day} {self.endpoint} {self.model}"


class UsageDay(Sums):
    class Meta:
        indexes = (models.Index(fields=("day", "provider", "model"), name="usage_by_day_and_model"),)
        constraints = (models.UniqueConstraint(fields=SUMMED_BY, name="usage_is_summed_once_a_day"),)


class Mark(models.Model):
    """How far the sums go: every line up to `ledger_id` is in them, none behind it. One row."""

    ledger_id = models.PositiveBigIntegerField(default=0)
    moved_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"up to line {self.ledger_id}"


class UsageMark(Mark):
    class Meta:
        constraints = (models.CheckConstraint(condition=Q(pk=1), name="usage_has_one_mark"),)
