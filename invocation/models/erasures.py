"""Erasures: what was asked to be forgotten of a subject, and how far that is."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from uuid6 import uuid7


class Erasure(models.Model):
    """One request to forget a subject: its own audit, never deleted. When it is done it keeps the subject's hash alone."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant_id = models.UUIDField()
    subject = models.CharField(max_length=200, blank=True)
    subject_sha256 = models.CharField(max_length=64)
    asked_by = models.CharField(max_length=200)
    asked_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    jobs_stopped = models.PositiveIntegerField(default=0)
    jobs_erased = models.PositiveIntegerField(default=0)
    turns_erased = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(finished_at__isnull=True) & ~Q(subject="") | Q(finished_at__isnull=False, subject=""),
                name="erasure_forgets_its_subject_when_finished",
            ),
            models.UniqueConstraint(
                fields=["tenant_id", "subject_sha256"], condition=Q(finished_at__isnull=True), name="subject_is_forgotten_once_at_a_time"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("id"), condition=Q(finished_at__isnull=True), name="erasure_open"),
            models.Index(fields=["tenant_id", "id"], name="erasure_of_tenant"),
        ]

    def __str__(self) -> str:
        return str(self.id)
