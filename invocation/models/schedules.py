"""Schedules and their firings."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from uuid6 import uuid7

from invocation.domain.schedules import FiringState
from invocation.models.columns import one_of
from invocation.models.jobs import Job


class Schedule(models.Model):
    """An endpoint, an input and the moments at which they meet; `next_fire_at` is what beat's tick claims."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant_id = models.UUIDField()
    endpoint = models.CharField(max_length=120)
    name = models.CharField(max_length=120)
    cron = models.CharField(max_length=120)
    timezone = models.CharField(max_length=64, default="UTC")
    input = models.JSONField()
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    tokens = models.PositiveBigIntegerField(null=True, blank=True)
    model_calls = models.PositiveBigIntegerField(null=True, blank=True)
    is_paused = models.BooleanField(default=False)
    next_fire_at = models.DateTimeField()
    fault = models.JSONField(null=True, blank=True)
    last_fired_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tenant_id", "name"], name="schedule_name_is_unique_to_its_tenant"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("next_fire_at"), condition=Q(is_paused=False), name="schedule_due"),
        ]

    def __str__(self) -> str:
        return self.name


class Firing(models.Model):
    """One moment of a schedule: fired exactly once, whatever number of beats ticked."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="firings")
    due_at = models.DateTimeField()
    fired_at = models.DateTimeField()
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="firing")
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in FiringState])
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("state", FiringState, name="firing_state_is_known"),
            models.UniqueConstraint(fields=["schedule", "due_at"], name="schedule_fires_once_a_moment"),
        ]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.due_at:%Y-%m-%d %H:%M}"
