"""The durable record of each run, and the outbox that tells evals of it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from invocation.models.columns import Invoked

DOWNSHIFTS_BY = ("endpoint", "wanted", "used", "why")


class RunRecord(Invoked):
    """One finished execution of an agent: what it took and what came of it. Append-only."""

    source = models.CharField(max_length=16)
    source_id = models.UUIDField()
    attempt = models.PositiveIntegerField()
    outcome = models.CharField(max_length=16)
    error_code = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    waited_ms = models.PositiveBigIntegerField()
    first_delta_ms = models.PositiveBigIntegerField(null=True, blank=True)
    duration_ms = models.PositiveBigIntegerField()
    models_used = models.JSONField(default=list)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    downshifts = models.JSONField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["source_id", "attempt"], name="attempt_is_recorded_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["mode", "finished_at"], name="run_by_mode"),
            models.Index(fields=["endpoint", "finished_at"], name="run_by_endpoint"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.source_id}/{self.attempt}"


class CountedDownshifts(models.Model):
    """How often an endpoint's calls were stepped down from one tier to another, by reason; it only grows."""

    id = models.BigAutoField(primary_key=True)
    endpoint = models.CharField(max_length=120)
    wanted = models.CharField(max_length=16)
    used = models.CharField(max_length=16)
    why = models.CharField(max_length=16)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.endpoint} {self.wanted} {self.used}"


class DownshiftCount(CountedDownshifts):
    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=DOWNSHIFTS_BY, name="downshifts_are_counted_in_one_place"),
        ]


class Outbox(models.Model):
    """What happened and is still to be told; written in the transaction of what happened, deleted when consumed.

    `data` carries what a judge needs: input, facts, output.
    """

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=32)
    run_id = models.UUIDField()
    data = models.JSONField()
    at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["topic", "id"], name="outbox_by_topic")]

    def __str__(self) -> str:
        return f"{self.topic} {self.run_id}"


class OutboxReceipt(models.Model):
    """That a batch's news was taken over into the outbox: kept until they are gone from where they came, so that none comes twice."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.id)
