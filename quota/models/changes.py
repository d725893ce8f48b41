"""Who changed what may be used and what it costs."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from quota.domain.changes import Act, Subject
from quota.models.columns import choices


class QuotaChange(models.Model):
    """One change of a plan, tenant, model quota or price: who, when, and each field's old and new value. Append-only."""

    at = models.DateTimeField()
    by = models.CharField(max_length=150)
    act = models.CharField(max_length=10, choices=choices(Act))
    subject = models.CharField(max_length=20, choices=choices(Subject))
    subject_id = models.CharField(max_length=40)
    name = models.CharField(max_length=200)
    fields = models.JSONField()
    """Of each field that changed: its old and its new value, as text; null where there was or is none."""
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name = "quota change"
        indexes = (models.Index(fields=("subject", "subject_id", "-id"), name="changes_of_a_subject"),)
        constraints = (
            models.CheckConstraint(condition=Q(act__in=[act.value for act in Act]), name="quota_change_is_a_known_act"),
            models.CheckConstraint(condition=Q(subject__in=[word.value for word in Subject]), name="quota_change_has_a_known_subject"),
        )

    def __str__(self) -> str:
        return f"{self.subject.replace('_', ' ')} {self.name} {self.act}"
