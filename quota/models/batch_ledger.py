"""The ledger of batches, and its sums by day: the same columns in tables of their own, which may lie in another database."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from quota.domain.ledger import ParentKind
from quota.models.ledger import SUMMED_BY, Line, Mark, Sums


class BatchLedgerEntry(Line):
    """A call of a batch's row, committed with the checkpoint that it belongs to."""

    class Meta:
        verbose_name_plural = "batch ledger"
        indexes = (
            models.Index(fields=("tenant_id", "at"), name="batch_ledger_by_tenant"),
            models.Index(fields=("at",), name="batch_ledger_by_time"),
        )
        constraints = (
            models.CheckConstraint(condition=Q(parent_kind=ParentKind.BATCH.value), name="batch_ledger_is_of_batches"),
            models.CheckConstraint(condition=Q(cost_usd__gte=0), name="batch_ledger_cost_is_not_negative"),
            models.CheckConstraint(condition=Q(cached_tokens__lte=F("input_tokens")), name="batch_cached_tokens_are_input_tokens"),
        )


class BatchUsageDay(Sums):
    class Meta:
        indexes = (models.Index(fields=("day", "provider", "model"), name="batch_usage_by_day_and_model"),)
        constraints = (models.UniqueConstraint(fields=SUMMED_BY, name="batch_usage_is_summed_once_a_day"),)


class BatchUsageMark(Mark):
    class Meta:
        constraints = (models.CheckConstraint(condition=Q(pk=1), name="batch_usage_has_one_mark"),)
