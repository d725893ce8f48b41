"""The tables of evals: scores, what could not be scored, batches being scored, baselines and shares."""

from __future__ import annotations

from enum import StrEnum

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from evals.domain.baselines import Origin
from invocation.domain.modes import Mode

EXCERPT = 2_000
REASON = 500
ZERO_TO_ONE = (MinValueValidator(0.0), MaxValueValidator(1.0))


def _choices(words: type[StrEnum]) -> list[tuple[str, str]]:
    return [(word.value, word.value) for word in words]


def _one_of(column: str, words: type[StrEnum], *, name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(**{f"{column}__in": [word.value for word in words]}), name=name)


class Score(models.Model):
    """What a rubric said of one run's answer. Figures are 0 to 1; `agent` is a label, name and version."""

    run_id = models.UUIDField()
    tenant_id = models.UUIDField(null=True, blank=True)
    endpoint = models.CharField(max_length=120, blank=True)
    agent = models.CharField(max_length=120)
    mode = models.CharField(max_length=24, choices=_choices(Mode))
    rubric = models.CharField(max_length=80)
    rubric_version = models.PositiveIntegerField()
    total = models.FloatField()
    criteria = models.JSONField()
    excerpt = models.CharField(max_length=EXCERPT, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(fields=("run_id", "rubric", "rubric_version"), name="run_is_scored_once_by_a_rubric"),
            models.CheckConstraint(condition=Q(total__gte=0, total__lte=1), name="score_is_0_to_1"),
            _one_of("mode", Mode, name="score_mode_is_known"),
        )
        indexes = (
            models.Index(fields=("mode", "at"), name="score_by_mode"),
            models.Index(fields=("tenant_id", "at"), name="score_by_tenant"),
        )

    def __str__(self) -> str:
        return f"{self.agent} {self.mode} {self.total:.2f}"


class Unscored(models.Model):
    """A sampled run that could not be judged, and why. The run itself is unharmed."""

    run_id = models.UUIDField(unique=True)
    tenant_id = models.UUIDField(null=True, blank=True)
    endpoint = models.CharField(max_length=120, blank=True)
    reason = models.CharField(max_length=REASON)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-pk",)
        verbose_name_plural = "unscored runs"

    def __str__(self) -> str:
        return f"{self.run_id}: {self.reason}"


class BatchScoring(models.Model):
    """One completed batch whose rows are to be scored; `due_at` is when a worker may be woken for it again."""

    batch_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField(null=True, blank=True)
    endpoint = models.CharField(max_length=120)
    agent = models.CharField(max_length=120)
    mode = models.CharField(max_length=24)
    asked_at = models.DateTimeField()
    due_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    # Which of the batch's rounds: its failed rows may have run again.
    round = models.PositiveSmallIntegerField(default=0)
    rows = models.PositiveBigIntegerField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-asked_at",)
        constraints = (
            models.CheckConstraint(
                condition=Q(rows__isnull=True, finished_at__isnull=True) | Q(rows__isnull=False, finished_at__isnull=False),
                name="batch_scoring_knows_its_rows_when_finished",
            ),
        )
        indexes = (models.Index(fields=("due_at",), condition=Q(finished_at__isnull=True), name="batch_scoring_due"),)

    def __str__(self) -> str:
        return f"{self.endpoint} {self.batch_id}"


class Baseline(models.Model):
    """What is expected of an agent, whatever its version, by one rubric in one mode."""

    agent = models.CharField(max_length=80, help_text="The agent's name, without a version.")
    rubric = models.CharField(max_length=80)
    mode = models.CharField(max_length=24, choices=_choices(Mode))
    expected = models.FloatField(null=True, blank=True, validators=ZERO_TO_ONE, help_text="A mean score, 0 to 1. Empty: none is set.")
    origin = models.CharField(max_length=12, choices=_choices(Origin), default=Origin.UNSET.value)
    accepted_by = models.CharField(max_length=150, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("agent", "rubric", "mode")
        constraints = (
            models.UniqueConstraint(fields=("agent", "rubric", "mode"), name="one_baseline_for_an_agent_rubric_and_mode"),
            _one_of("mode", Mode, name="baseline_mode_is_known"),
            _one_of("origin", Origin, name="baseline_origin_is_known"),
            models.CheckConstraint(
                condition=Q(origin=Origin.UNSET, expected__isnull=True) | ~Q(origin=Origin.UNSET) & Q(expected__isnull=False),
                name="baseline_is_unset_only_without_a_score",
            ),
            models.CheckConstraint(condition=Q(expected__isnull=True) | Q(expected__gte=0, expected__lte=1), name="baseline_is_0_to_1"),
            models.CheckConstraint(
                condition=Q(origin=Origin.ACCEPTED) & ~Q(accepted_by="") | ~Q(origin=Origin.ACCEPTED) & Q(accepted_by=""),
                name="baseline_names_who_accepted_it",
            ),
        )

    def __str__(self) -> str:
        return f"{self.agent} {self.rubric} {self.mode}"


class SamplingShare(models.Model):
    """What an operator wants judged of a mode, instead of the mode table's share."""

    mode = models.CharField(max_length=24, choices=_choices(Mode), unique=True)
    share = models.FloatField(validators=ZERO_TO_ONE, help_text="0 judges no run of this mode, 1 every one.")

    class Meta:
        ordering = ("mode",)
        constraints = (
            _one_of("mode", Mode, name="share_mode_is_known"),
            models.CheckConstraint(condition=Q(share__gte=0, share__lte=1), name="share_is_0_to_1"),
        )

    def __str__(self) -> str:
        return f"{self.mode} {self.share:.0%}"
