"""What each class was like, minute by minute, and the alerts that followed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from uuid6 import uuid7

from invocation.domain.slo import AlertKind
from invocation.models.columns import one_of
from quota.domain.classes import PriorityClass


class SloRecord(models.Model):
    """A class at the first look of a minute. Append-only.

    `admitted` and `finished` count what began and what ended since the record before (at most an hour ago),
    `dead` and `volume` the last 24 hours: dead letters that count, and jobs that ended.
    """

    priority_class = models.CharField(max_length=8)
    minute = models.DateTimeField()
    at = models.DateTimeField()
    depth = models.PositiveBigIntegerField()
    oldest_s = models.FloatField()
    slots = models.PositiveIntegerField()
    busy = models.PositiveIntegerField()
    admitted = models.PositiveBigIntegerField()
    finished = models.PositiveBigIntegerField()
    dead = models.PositiveBigIntegerField()
    volume = models.PositiveBigIntegerField()
    holds = models.PositiveIntegerField()
    is_led = models.BooleanField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("priority_class", PriorityClass, name="slo_class_is_known"),
            models.UniqueConstraint(fields=["priority_class", "minute"], name="class_is_recorded_once_a_minute"),
            models.CheckConstraint(condition=Q(oldest_s__gte=0), name="nothing_waits_since_tomorrow"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["minute"], name="slo_by_minute")]

    def __str__(self) -> str:
        return f"{self.priority_class} {self.minute:%Y-%m-%d %H:%M}"


class Alert(models.Model):
    """Something that is wrong, from the moment it was found until it holds again. Never deleted: it is its own record."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=24, choices=[(kind.value, kind.value) for kind in AlertKind])
    priority_class = models.CharField(max_length=8)
    sentence = models.CharField(max_length=400)
    found = models.FloatField()
    bound = models.FloatField()
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("kind", AlertKind, name="alert_kind_is_known"),
            one_of("priority_class", PriorityClass, name="alert_class_is_known"),
            models.UniqueConstraint(fields=["kind", "priority_class"], condition=Q(closed_at__isnull=True), name="alert_is_open_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.priority_class}"
