"""Batches, their shards and their rows: tables of their own, without a key into another's."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from uuid6 import uuid7

from invocation.domain.batches import BATCH_ENDED, BATCH_SENT, MOST_SHARDS, BatchState, Publication, ShardState
from invocation.domain.manifests import Format
from invocation.models.columns import Held, Invoked, one_of
from invocation.models.runs import DOWNSHIFTS_BY, CountedDownshifts


class Batch(Invoked):
    """One manifest, run row by row through one endpoint."""

    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in BatchState])
    manifest = models.TextField()
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    manifest_format = models.CharField(max_length=8, default=Format.JSONL.value, choices=[(each.value, each.value) for each in Format])
    manifest_packing = models.CharField(max_length=4, default="", blank=True)
    manifest_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    # The column that names the rows, where somebody said one.
    names_rows = models.CharField(max_length=200, default="", blank=True)
    output = models.TextField()
    # {schema: of the outputs when it was opened, partition_by: names of columns}
    dataset = models.JSONField(default=dict, blank=True)
    rows = models.PositiveBigIntegerField()
    cost_cap_usd = models.DecimalField(max_digits=14, decimal_places=6)
    token_cap = models.BigIntegerField()
    call_cap = models.BigIntegerField()
    row_latency_ms = models.PositiveBigIntegerField()
    wave = models.PositiveIntegerField(default=0)
    wave_at = models.DateTimeField(null=True, blank=True)
    shards_wanted = models.PositiveIntegerField(default=MOST_SHARDS)
    # Who reads the manifest, when that was last known, how often it was begun, and how far it is.
    planner = models.UUIDField(null=True, blank=True)
    planning_at = models.DateTimeField(null=True, blank=True)
    planning_tries = models.PositiveSmallIntegerField(default=0)
    planning = models.JSONField(null=True, blank=True)
    fault = models.JSONField(null=True, blank=True)
    # {code, sentence, at} while it is paused.
    pause = models.JSONField(null=True, blank=True)
    # {share, count, least}: from which share or count of failed rows on it is paused, once so many have ended. And
    # {ended, failed}: how many of its shards' tries had ended and failed when it was last let go on.
    failures = models.JSONField(default=dict, blank=True)
    # How often its failed rows were asked to run again.
    round = models.PositiveSmallIntegerField(default=0)
    # {start, end, zone}: outside of it it is paused. Wished for: done by then.
    window = models.JSONField(null=True, blank=True)
    finish_by = models.DateTimeField(null=True, blank=True)
    publication = models.CharField(max_length=16, default="", blank=True, choices=[(each.value, each.value) for each in Publication])
    # {sentence, rows, mean, expected, at}: what its scores said, and why it is published, held or neither.
    scores = models.JSONField(null=True, blank=True)
    # How often its dataset was begun to be written, not before when again, and what went wrong the last time: a fault.
    gather_tries = models.PositiveSmallIntegerField(default=0)
    gather_due_at = models.DateTimeField(null=True, blank=True)
    gathering = models.JSONField(null=True, blank=True)
    # When its dataset was written, the whole one or what was finished before it ended early.
    gathered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    # Since when it runs without a pause; what its rate is measured from.
    running_since = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "batches"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("state", BatchState, name="batch_state_is_known"),
            models.CheckConstraint(
                condition=Q(finished_at__isnull=False, state__in=BATCH_ENDED) | Q(finished_at__isnull=True) & ~Q(state__in=BATCH_ENDED),
                name="batch_is_finished_only_when_ended",
            ),
            models.CheckConstraint(
                condition=Q(pause__isnull=False, state=BatchState.PAUSED) | Q(pause__isnull=True) & ~Q(state=BatchState.PAUSED),
                name="batch_says_why_while_it_is_paused",
            ),
            models.CheckConstraint(
                condition=Q(planner__isnull=True) | Q(state__in=(BatchState.PLANNING, BatchState.CANCELLED)),
                name="batch_has_a_planner_only_while_planning",
            ),
            one_of("publication", Publication, name="batch_publication_is_known"),
            models.CheckConstraint(
                condition=Q(publication=Publication.UNDECIDED) | Q(state=BatchState.COMPLETED),
                name="batch_is_published_only_when_completed",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant_id", "id"], name="batch_of_tenant"),
            models.Index(F("planning_at"), condition=Q(state=BatchState.PLANNING), name="batch_planning"),
            models.Index(F("id"), condition=~Q(state__in=BATCH_ENDED), name="batch_open"),
            models.Index(F("tenant_id"), F("id"), condition=Q(state__in=BATCH_SENT), name="batch_sent_by_tenant"),
            models.Index(F("tenant_id"), F("wave_at"), condition=Q(wave_at__isnull=False), name="batch_served"),
            models.Index(F("id"), condition=Q(state__in=BATCH_ENDED, gathered_at__isnull=True), name="batch_ungathered"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.id}"


class Shard(Held):
    """A slice of a manifest, and how far it is."""

    LONG = ("ahead", "parts")
    """What may have thousands of entries."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="shards")
    index = models.PositiveIntegerField()
    first_line = models.PositiveBigIntegerField()
    # Where its first record begins: see domain/manifests.Place. The hash is empty where it was planned before hashes were kept.
    offset = models.PositiveBigIntegerField()
    inside = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, default="", blank=True)
    rows = models.PositiveBigIntegerField()
    position = models.PositiveBigIntegerField(default=0)
    # Rows at their end, those behind the position included, and how many lately: see domain/paces.
    done = models.PositiveBigIntegerField(default=0)
    pace = models.JSONField(default=list)
    failed_rows = models.PositiveBigIntegerField(default=0)
    # How often a row of it came to its end in any round, and how often by an error. Neither ever shrinks.
    tried = models.PositiveBigIntegerField(default=0)
    tried_failed = models.PositiveBigIntegerField(default=0)
    # Rows finished behind the position, while one at the position is not: [first, end) of each run of them.
    ahead = models.JSONField(default=list)
    parts = models.JSONField(default=list)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in ShardState])
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    calls = models.PositiveBigIntegerField(default=0)
    reserved_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    reserved_tokens = models.PositiveBigIntegerField(default=0)
    reserved_calls = models.PositiveBigIntegerField(default=0)
    # What attempts that were lost had set aside: they may have spent it, or still do, and never tell.
    lost_usd = models.DecimalField(max_digits=14, decimal_places=6, db_default=0)
    lost_tokens = models.BigIntegerField(db_default=0)
    lost_calls = models.BigIntegerField(db_default=0)
    # The most of the call that the tenant's day refused its next row; nothing, where none was refused.
    short_usd = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    short_tokens = models.PositiveBigIntegerField(default=0)
    failures = models.PositiveSmallIntegerField(default=0)
    # Workers that vanished under it since a row of it was last finished.
    losses = models.PositiveSmallIntegerField(default=0)
    # Failed rows of earlier rounds run again in this one.
    round = models.PositiveSmallIntegerField(default=0)
    # Failed rows by their error's code.
    errors = models.JSONField(default=dict)
    # When it was last sent to a worker; not before `due_at` again.
    sent_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("state", ShardState, name="shard_state_is_known"),
            models.UniqueConstraint(fields=["batch", "index"], name="shard_index_is_unique_in_its_batch"),
            models.CheckConstraint(condition=Q(position__lte=F("rows")), name="shard_position_stays_inside_its_rows"),
            models.CheckConstraint(condition=Q(done__lte=F("rows")), name="shard_does_no_more_than_its_rows"),
            models.CheckConstraint(
                condition=Q(owner__isnull=False, state=ShardState.WORKING) | Q(owner__isnull=True) & ~Q(state=ShardState.WORKING),
                name="shard_is_owned_only_while_working",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("owner"), condition=Q(owner__isnull=False), name="shard_owned"),
            models.Index(F("batch"), F("index"), condition=Q(state=ShardState.QUEUED), name="shard_waiting"),
            models.Index(F("sent_at"), condition=Q(state=ShardState.QUEUED, sent_at__isnull=False), name="shard_sent"),
        ]

    def __str__(self) -> str:
        return f"{self.batch_id}/{self.index}"


class BatchRow(models.Model):
    """One finished row: the durable record of its run. Its id is unique in the batch, so no row is finished twice."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="finished_rows")
    row_id = models.CharField(max_length=200)
    run_id = models.UUIDField()
    shard = models.PositiveIntegerField()
    # Which of its shard's rows it is, from 0, and in which round it ended so.
    place = models.PositiveBigIntegerField(default=0)
    round = models.PositiveSmallIntegerField(default=0)
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
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["batch", "shard", "place"], name="row_of_shard"),
            models.Index(F("batch"), F("error_code"), F("id"), condition=~Q(error_code=""), name="row_failed_by_cause"),
        ]

    def __str__(self) -> str:
        return f"{self.batch_id}/{self.row_id}"


class BatchOutbox(models.Model):
    """What happened to a batch and is still to be told; written in the transaction of what happened, then handed on to the Outbox."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    topic = models.CharField(max_length=32)
    run_id = models.UUIDField()
    data = models.JSONField()
    at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["topic", "id"], name="batch_outbox_by_topic")]

    def __str__(self) -> str:
        return f"{self.topic} {self.run_id}"


class BatchDownshiftCount(CountedDownshifts):
    """Those of batches' rows, counted with the checkpoint that they belong to."""

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=DOWNSHIFTS_BY, name="downshifts_of_batches_are_counted_in_one_place"),
        ]


class CatalogTable(models.Model):
    """A published dataset's results, or its errors, as the local catalog lists them."""

    name = models.CharField(max_length=255, unique=True)
    batch_id = models.UUIDField()
    tenant_id = models.UUIDField()
    endpoint = models.CharField(max_length=120)
    location = models.TextField()
    # [{name, type}] in the words of Hive; then the names of those that part it, and [{values, location}].
    columns = models.JSONField()
    partition_by = models.JSONField(default=list)
    partitions = models.JSONField(default=list)
    rows = models.PositiveBigIntegerField()
    bytes = models.PositiveBigIntegerField()
    registered_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["tenant_id", "id"], name="catalog_of_tenant")]

    def __str__(self) -> str:
        return self.name


class Registration(models.Model):
    """That a published dataset is to be in a catalog: done, or tried again when it is due."""

    batch_id = models.UUIDField()
    catalog = models.CharField(max_length=32)
    tries = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["batch_id", "catalog"], name="dataset_is_registered_once_in_a_catalog"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("due_at"), condition=Q(done_at__isnull=True), name="registration_due"),
        ]

    def __str__(self) -> str:
        return f"{self.catalog}: {self.batch_id}"
