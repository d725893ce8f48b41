"""Callbacks: the one-time addresses that end a wait, and what they brought."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from invocation.models.jobs import Job


class Callback(models.Model):
    """A job's callback of one key. Its token is kept as a hash to be found by, and sealed to be handed out again on a replay."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="callbacks")
    key = models.CharField(max_length=60)
    token_sha256 = models.CharField(max_length=64, unique=True)
    sealed_url = models.TextField()
    value = models.JSONField(null=True, blank=True)
    came_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["job", "key"], name="job_has_a_callback_of_a_key_once"),
            models.CheckConstraint(
                condition=Q(came_at__isnull=False) | Q(value__isnull=True), name="callback_has_a_value_only_when_it_came"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} of {self.job_id}"
