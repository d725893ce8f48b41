"""Redrives with their members, and the dead letters that were closed for good."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from uuid6 import uuid7

from invocation.domain.redrives import LEAST_RATE, MOST_RATE, MOST_REASON, REDRIVE_OPEN, AgentChoice, RedriveState
from invocation.models.columns import one_of
from invocation.models.jobs import Job


class Redrive(models.Model):
    """Dead letters that are started again at a rate. Only services/redrives.py changes its state.

    `tenant_id` is whose it is, null an operator's; `match` is null where the members were chosen by id.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant_id = models.UUIDField(null=True, blank=True)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in RedriveState])
    match = models.JSONField(null=True, blank=True)
    rate = models.FloatField()
    input = models.JSONField(null=True, blank=True)
    patch = models.JSONField(null=True, blank=True)
    agent = models.CharField(max_length=16)
    reason = models.CharField(max_length=MOST_REASON)
    by = models.CharField(max_length=200)
    aborted_by = models.CharField(max_length=200, blank=True)
    position = models.UUIDField(null=True, blank=True)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    opened_at = models.DateTimeField()
    paced_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("state", RedriveState, name="redrive_state_is_known"),
            one_of("agent", AgentChoice, name="redrive_agent_choice_is_known"),
            models.CheckConstraint(
                condition=Q(state__in=REDRIVE_OPEN, finished_at__isnull=True) | ~Q(state__in=REDRIVE_OPEN) & Q(finished_at__isnull=False),
                name="redrive_is_finished_only_when_ended",
            ),
            models.CheckConstraint(condition=Q(rate__gte=LEAST_RATE, rate__lte=MOST_RATE), name="redrive_rate_is_bounded"),
            models.CheckConstraint(condition=Q(total__gte=F("done") + F("refused")), name="redrive_counts_its_members_once"),
            models.CheckConstraint(condition=Q(input__isnull=True) | Q(patch__isnull=True), name="redrive_edits_in_one_way"),
            models.CheckConstraint(condition=~Q(reason=""), name="redrive_has_a_reason"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("paced_at"), condition=Q(state__in=REDRIVE_OPEN), name="redrive_open"),
            models.Index(fields=["tenant_id", "id"], name="redrive_of_tenant"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class RedriveMember(models.Model):
    """One dead letter of a redrive: waiting, started again as its successor, or refused with a code and a sentence."""

    id = models.BigAutoField(primary_key=True)
    redrive = models.ForeignKey(Redrive, on_delete=models.CASCADE, related_name="members", db_index=False)
    job_id = models.UUIDField()
    successor_id = models.UUIDField(null=True, blank=True)
    code = models.CharField(max_length=64, blank=True)
    sentence = models.TextField(blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["redrive", "job_id"], name="redrive_has_a_member_once"),
            models.CheckConstraint(condition=Q(successor_id__isnull=True) | Q(code=""), name="redrive_member_is_started_or_refused"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("redrive"), F("job_id"), condition=Q(successor_id__isnull=True, code=""), name="redrive_member_waiting"),
            models.Index(F("redrive"), F("code"), condition=~Q(code=""), name="redrive_member_refused"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} {self.code}".strip()


class Discard(models.Model):
    """A dead letter closed for good: who did it, when and why. Append-only."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="discard")
    reason = models.CharField(max_length=MOST_REASON)
    by = models.CharField(max_length=200)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [models.CheckConstraint(condition=~Q(reason=""), name="discard_has_a_reason")]

    def __str__(self) -> str:
        return f"{self.job_id}: {self.reason}"
