"""Batches, their shards and their rows: tables of their own, without a key into another's."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from invocation.domain.batches import BATCH_ENDED, BatchState, ShardState
from invocation.models.columns import Held, Invoked, one_of


class Batch(Invoked):
    """One manifest, run row by row through one endpoint."""

    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in BatchState])
    manifest = models.TextField()
    manifest_sha256 = models.CharField(max_length=64)
    output = models.TextField()
    rows = models.PositiveBigIntegerField()
    cost_cap_usd = models.DecimalField(max_digits=14, decimal_places=6)
    token_cap = models.BigIntegerField()
    call_cap = models.BigIntegerField()
    row_latency_ms = models.PositiveBigIntegerField()
    wave = models.PositiveIntegerField(default=0)
    wave_at = models.DateTimeField(null=True, blank=True)
    fault = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "batches"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("state", BatchState, name="batch_state_is_known"),
            models.CheckConstraint(
                condition=Q(finished_at__isnull=False, state__in=BATCH_ENDED) | Q(finished_at__isnull=True) & ~Q(state__in=BATCH_ENDED),
                name="batch_is_finished_only_when_ended",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant_id", "id"], name="batch_of_tenant"),
            models.Index(F("id"), condition=~Q(state__in=BATCH_ENDED), name="batch_open"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.id}"


class Shard(Held):
    """A slice of a manifest, and how far it is."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="shards")
    index = models.PositiveIntegerField()
    first_line = models.PositiveBigIntegerField()
    offset = models.PositiveBigIntegerField()
    rows = models.PositiveBigIntegerField()
    position = models.PositiveBigIntegerField(default=0)
    failed_rows = models.PositiveBigIntegerField(default=0)
    # Rows behind the position that were finished before one at the position was put off.
    ahead = models.PositiveIntegerField(default=0)
    parts = models.JSONField(default=list)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in ShardState])
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    calls = models.PositiveBigIntegerField(default=0)
    reserved_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    reserved_tokens = models.PositiveBigIntegerField(default=0)
    reserved_calls = models.PositiveBigIntegerField(default=0)
    # The most of the call that the tenant's day refused its next row; nothing, where none was refused.
    short_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    short_tokens = models.PositiveBigIntegerField(default=0)
    failures = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("state", ShardState, name="shard_state_is_known"),
            models.UniqueConstraint(fields=["batch", "index"], name="shard_index_is_unique_in_its_batch"),
            models.CheckConstraint(condition=Q(position__lte=F("rows")), name="shard_position_stays_inside_its_rows"),
            models.CheckConstraint(
                condition=Q(owner__isnull=False, state=ShardState.WORKING) | Q(owner__isnull=True) & ~Q(state=ShardState.WORKING),
                name="shard_is_owned_only_while_working",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(F("owner"), condition=Q(owner__isnull=False), name="shard_owned")]

    def __str__(self) -> str:
        return f"{self.batch_id}/{self.index}"


class BatchRow(models.Model):
    """One finished row: the durable record of its run. Its id is unique in the batch, so no row is finished twice."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="finished_rows")
    row_id = models.CharField(max_length=200)
    run_id = models.UUIDField()
    shard = models.PositiveIntegerField()
    outcome = models.CharField(max_length=16)
    error_code = models.CharField(max_length=64, blank=True)
    agent = models.CharField(max_length=120)
    traceparent = models.CharField(max_length=64)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    duration_ms = models.PositiveIntegerField()
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["batch", "row_id"], name="row_is_finished_once"),
        ]

    def __str__(self) -> str:
        return f"{self.batch_id}/{self.row_id}"
