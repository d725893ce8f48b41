"""Jobs, their history, their journal and their results."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Least

from invocation.domain.jobs import IN_FLIGHT, MAY_EXPIRE, PARKED, TERMINAL, JobState
from invocation.models.columns import Held, Invoked

COUNTS = ("attempt", "event_seq", "rank", "depth", "descendants", "context_version", "latency_budget_ms", "tries", "failures", "losses")
SOUND = models.Func(
    *map(F, ("state", "owner", "finished_at", "cause", "questions", "is_behind", "ordering_key")),
    *map(F, ("context_key", "context_version", "relevance")),
    Least(*map(F, ("held_usd", "held_tokens", "held_calls")), output_field=models.DecimalField()),
    Least(*map(F, COUNTS), output_field=models.BigIntegerField()),
    function="invocation_job_is_sound",
    output_field=models.BooleanField(),
)
"""All of a row's rules in one function of the database (migration 0016), which names the one that is broken. PostgreSQL reads each
CHECK of a table anew at each statement that writes to it: eighteen were two fifths of what an insert cost."""


class Job(Invoked, Held):
    """One accepted invocation. Only services/lifecycle.py changes its state."""

    priority_class = models.CharField(max_length=8)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in JobState])
    reason = models.CharField(max_length=64, blank=True)
    event_seq = models.PositiveIntegerField(default=0)
    input = models.JSONField()
    subject = models.CharField(max_length=200, blank=True)
    locale = models.CharField(max_length=16, default="en")
    metadata = models.JSONField(default=dict, blank=True)
    rank = models.PositiveSmallIntegerField(default=1)
    is_behind = models.BooleanField(default=False)
    is_alone = models.BooleanField(default=False)
    # Found by child_is_spawned_once, which leaves out the many that have no parent.
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children", db_index=False)
    root_id = models.UUIDField(null=True, blank=True)
    depth = models.PositiveSmallIntegerField(default=0)
    child_key = models.CharField(max_length=200, blank=True)
    descendants = models.PositiveIntegerField(default=0)
    webhook_id = models.UUIDField(null=True, blank=True)
    context_key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001  (null means none named)
    context_version = models.PositiveBigIntegerField(null=True, blank=True)
    relevance = models.CharField(max_length=16, blank=True)
    ordering_key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001  (null means no lane)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001  (null means none given)
    fingerprint = models.CharField(max_length=64, blank=True)
    latency_budget_ms = models.PositiveBigIntegerField()
    cost_cap_usd = models.DecimalField(max_digits=12, decimal_places=6)
    token_cap = models.BigIntegerField()
    call_cap = models.BigIntegerField()
    tries = models.PositiveSmallIntegerField()
    failures = models.PositiveSmallIntegerField(default=0)
    losses = models.PositiveSmallIntegerField(default=0)
    spent_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    spent_tokens = models.BigIntegerField(db_default=0)
    spent_calls = models.BigIntegerField(db_default=0)
    # Set aside for its children.
    lent_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    lent_tokens = models.BigIntegerField(db_default=0)
    lent_calls = models.BigIntegerField(db_default=0)
    # Set aside for calls that are under way, or were when an attempt was lost: nobody knows what those cost.
    held_usd = models.DecimalField(max_digits=12, decimal_places=6, db_default=0)
    held_tokens = models.BigIntegerField(db_default=0)
    held_calls = models.BigIntegerField(db_default=0)
    questions = models.JSONField(null=True, blank=True)
    answers = models.JSONField(default=dict, blank=True)
    awaiting = models.JSONField(null=True, blank=True)
    progress = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    # What broke, in words for operators alone.
    broke = models.TextField(blank=True, db_default="")
    cause = models.CharField(max_length=24, blank=True)
    redrive_of = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="successor")
    created_at = models.DateTimeField()
    queued_at = models.DateTimeField()
    dispatched_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=SOUND, name="job_is_sound"),
            models.UniqueConstraint(fields=["parent", "child_key"], condition=Q(parent__isnull=False), name="child_is_spawned_once"),
            models.UniqueConstraint(
                fields=["tenant_id", "idempotency_key"], condition=Q(idempotency_key__isnull=False), name="idempotency_key_is_used_once"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                F("priority_class"),
                F("tenant_id"),
                F("rank"),
                F("id"),
                condition=Q(state=JobState.QUEUED, is_behind=False),
                name="job_ready",
            ),
            models.Index(F("priority_class"), F("tenant_id"), condition=Q(state__in=IN_FLIGHT), name="job_in_flight"),
            models.Index(F("owner"), condition=Q(owner__isnull=False), name="job_owned"),
            models.Index(F("due_at"), condition=Q(state__in=PARKED), name="job_waiting"),
            models.Index(F("id"), condition=Q(state=JobState.WAITING, reason="children"), name="job_joining"),
            models.Index(F("expires_at"), condition=Q(expires_at__isnull=False, state__in=MAY_EXPIRE), name="job_expiring"),
            models.Index(
                F("tenant_id"),
                F("ordering_key"),
                F("id"),
                condition=Q(ordering_key__isnull=False) & ~Q(state__in=TERMINAL),
                name="job_lane",
            ),
            # Whoever leaves a long lane asks whether it has a first, and must not read all who wait to hear that it has none.
            models.Index(
                F("tenant_id"),
                F("ordering_key"),
                condition=Q(ordering_key__isnull=False, is_behind=False) & ~Q(state__in=TERMINAL),
                name="job_first_of_lane",
            ),
            models.Index(F("tenant_id"), F("id"), name="job_of_tenant"),
            models.Index(F("tenant_id"), F("subject"), condition=~Q(subject=""), name="job_of_subject"),
            models.Index(F("cause"), F("finished_at"), condition=Q(state=JobState.FAILED), name="job_dead"),
            models.Index(F("id"), condition=Q(state=JobState.FAILED), name="job_failed"),
            models.Index(F("tenant_id"), F("id"), condition=Q(state=JobState.FAILED), name="job_failed_of_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.id}"


class JobEvent(models.Model):
    """The append-only history of a job: one integer seq, one row an event."""

    # No constraint: an event is written by the statement that moved its job, and checking each costs more than writing it.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events", db_constraint=False, db_index=False)
    seq = models.PositiveIntegerField()
    type = models.CharField(max_length=32)
    at = models.DateTimeField()
    data = models.JSONField(default=dict)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["job", "seq"], name="job_event_seq_is_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.type}"


class StepValue(models.Model):
    """A large result of steps, kept once for a tenant by its content. It goes with the last step that names it."""

    id = models.BigAutoField(primary_key=True)
    tenant_id = models.UUIDField()
    sha256 = models.CharField(max_length=64)
    content = models.JSONField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tenant_id", "sha256"], name="step_value_is_kept_once"),
        ]

    def __str__(self) -> str:
        return self.sha256


class StepRecord(models.Model):
    """A finished step of a job: what the next attempt gets back instead of running it again.

    A large result is its `value`'s content, a small one stands in `result`.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="steps", db_index=False)
    name = models.CharField(max_length=120)
    occurrence = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=16)
    result = models.JSONField(null=True)
    value = models.ForeignKey(StepValue, on_delete=models.PROTECT, null=True, blank=True, related_name="steps")
    attempt = models.PositiveIntegerField()
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["job", "name", "occurrence"], name="step_is_recorded_once"),
            models.CheckConstraint(condition=Q(value__isnull=True) | Q(result__isnull=True), name="step_has_its_result_in_one_place"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.occurrence}"


class Result(models.Model):
    """A completed job's output: in the row, or whole in the object store at `location`, known by size and hash."""

    # No constraint: a result is written in the transaction that completed its job.
    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="result", db_constraint=False)
    output = models.JSONField(null=True)
    location = models.CharField(max_length=200, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(output__isnull=False, location="", sha256="") | Q(output__isnull=True) & ~Q(location="") & ~Q(sha256=""),
                name="result_is_in_the_row_or_in_the_store",
            ),
        ]

    def __str__(self) -> str:
        return str(self.job_id)


class StoredResult(models.Model):
    """A result's file in the object store, noted before it is written and dropped after it is gone: none is ever forgotten.

    It is named while a result's row says that the output lies there. Its job's row may be gone before it.
    """

    id = models.BigAutoField(primary_key=True)
    tenant_id = models.UUIDField()
    job_id = models.UUIDField()
    attempt = models.PositiveIntegerField()
    location = models.CharField(max_length=200)
    is_named = models.BooleanField(default=False)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["job_id", "attempt"], name="attempt_stores_one_result"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(F("at"), condition=Q(is_named=False), name="stored_result_is_an_orphan")]

    def __str__(self) -> str:
        return self.location
