"""Chat sessions and their turns."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from uuid6 import uuid7

from invocation.domain.turns import ENDED, OPEN, TurnState
from invocation.models.columns import Held, Invoked, one_of


class Session(models.Model):
    """A conversation, and the base of its one growing seq."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant_id = models.UUIDField()
    endpoint = models.CharField(max_length=120)
    last_seq = models.PositiveBigIntegerField(default=0)
    reserved_seq = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["tenant_id", "id"], name="session_of_tenant")]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(reserved_seq__gte=F("last_seq")), name="session_seq_never_outruns_its_reserve"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Turn(Invoked, Held):
    """One question and its answer. Its last event is kept here, so that no wiped stream can lose it.

    While it runs, `text` is what was shown up to the event `text_seq`, stored now and then.
    """

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="turns")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in TurnState])
    input = models.JSONField()
    locale = models.CharField(max_length=16, default="en")
    subject = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    latency_budget_ms = models.PositiveBigIntegerField()
    cost_cap_usd = models.DecimalField(max_digits=12, decimal_places=6)
    token_cap = models.BigIntegerField()
    call_cap = models.BigIntegerField()
    # Set aside by its attempts beyond the quarter of the caps that is each one's own: nobody knows what a lost one spent of it.
    held_usd = models.DecimalField(max_digits=12, decimal_places=6, db_default=0)
    held_tokens = models.BigIntegerField(db_default=0)
    held_calls = models.BigIntegerField(db_default=0)
    text = models.TextField(blank=True)
    text_seq = models.PositiveBigIntegerField(default=0)
    output = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    truncated = models.BooleanField(default=False)
    retracted = models.BooleanField(default=False)
    last_event = models.JSONField(null=True, blank=True)
    received_at = models.DateTimeField()
    deadline = models.DateTimeField()
    first_delta_deadline = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("state", TurnState, name="turn_state_is_known"),
            models.UniqueConstraint(fields=["session", "number"], name="turn_number_is_unique_in_its_session"),
            models.UniqueConstraint(fields=["session"], condition=Q(state__in=OPEN), name="session_has_one_open_turn"),
            models.CheckConstraint(
                condition=Q(finished_at__isnull=False, last_event__isnull=False, state__in=ENDED)
                | Q(finished_at__isnull=True) & ~Q(state__in=ENDED),
                name="turn_keeps_its_last_event",
            ),
            models.CheckConstraint(
                condition=Q(first_delta_deadline__isnull=True) | Q(first_delta_deadline__lte=F("deadline")),
                name="turn_speaks_before_its_deadline",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("deadline"), condition=Q(state__in=OPEN), name="turn_open"),
            models.Index(fields=["tenant_id", "id"], name="turn_of_tenant"),
            models.Index(F("tenant_id"), F("subject"), condition=~Q(subject=""), name="turn_of_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.session_id}/{self.number}"


class Continuation(models.Model):
    """An escape hatch's offer that was accepted: the turn goes on as this job, and as no other."""

    turn = models.OneToOneField(Turn, on_delete=models.CASCADE, primary_key=True, related_name="continuation")
    job_id = models.UUIDField(unique=True)
    """No foreign key: a job goes when its retention is over, and the turn still says that it went on."""
    accepted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.turn_id} as {self.job_id}"
