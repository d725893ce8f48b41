"""Contexts: how far their consumers have moved on, and the newest answer that came for each."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from invocation.domain.contexts import KEY_LENGTH


class ContextRecord(models.Model):
    """A tenant's context at its version, which only grows; the answer is a completed job's, in the version that it was asked in."""

    id = models.BigAutoField(primary_key=True)
    tenant_id = models.UUIDField()
    key = models.CharField(max_length=KEY_LENGTH)
    version = models.PositiveBigIntegerField(default=1)
    answer_job_id = models.UUIDField(null=True, blank=True)
    answer_version = models.PositiveBigIntegerField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    touched_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tenant_id", "key"], name="context_key_is_unique_for_its_tenant"),
            models.CheckConstraint(
                condition=Q(answer_job_id__isnull=True, answer_version__isnull=True, answered_at__isnull=True)
                | Q(answer_job_id__isnull=False, answer_version__isnull=False, answered_at__isnull=False),
                name="context_has_an_answer_whole_or_none",
            ),
            models.CheckConstraint(condition=Q(version__gte=1), name="context_versions_begin_at_one"),
            models.CheckConstraint(
                condition=Q(answer_version__isnull=True) | Q(answer_version__lte=F("version")), name="context_is_never_behind_its_answer"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["touched_at"], name="context_by_age")]

    def __str__(self) -> str:
        return f"{self.key} {self.version}"
