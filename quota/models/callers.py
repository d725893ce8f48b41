"""Who may invoke, and how much: plans, tenants, keys and model quotas."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID
from zoneinfo import available_timezones

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from uuid6 import uuid7

from quota.domain.callers import Scope
from quota.domain.classes import PriorityClass
from quota.models.columns import choices


def must_be_a_zone(name: str) -> None:
    """Raise ValidationError unless the name is of a time zone that is known here."""
    if name not in available_timezones():
        raise ValidationError(f"{name!r} is no time zone: say a name such as UTC or America/Los_Angeles.")


def _new_id() -> UUID:
    return UUID(int=uuid7().int)


class Plan(models.Model):
    """What a tenant may do at once, a minute and a day. An empty cap is no cap."""

    name = models.SlugField(max_length=40, unique=True)
    in_flight_p0 = models.PositiveIntegerField(null=True, blank=True)
    in_flight_p1 = models.PositiveIntegerField(null=True, blank=True)
    in_flight_p2 = models.PositiveIntegerField(null=True, blank=True)
    in_flight_p3 = models.PositiveIntegerField(null=True, blank=True)
    connections = models.PositiveIntegerField(null=True, blank=True, help_text="Streams open at once; empty is no cap.")
    requests_per_minute = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    daily_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    daily_usd = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True, validators=[MinValueValidator(Decimal(0))])
    weight = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=100), name="plan_weight_is_1_to_100"),
            models.CheckConstraint(condition=Q(requests_per_minute__gte=1), name="plan_allows_a_request_a_minute"),
            models.CheckConstraint(condition=Q(daily_usd__isnull=True) | Q(daily_usd__gte=0), name="plan_daily_money_is_not_negative"),
        )

    def __str__(self) -> str:
        return self.name


class Tenant(models.Model):
    """Who invokes, who pays, and whose data it is."""

    id = models.UUIDField(primary_key=True, default=_new_id, editable=False)
    name = models.CharField(max_length=80, unique=True)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="tenants")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ("name",)
        constraints = (models.CheckConstraint(condition=~Q(name=""), name="tenant_has_a_name"),)

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A key without its secret."""

    prefix = models.CharField(max_length=8, unique=True)
    secret_sha256 = models.CharField(max_length=64)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=80, blank=True)
    scopes = ArrayField(models.CharField(max_length=20, choices=choices(Scope)))
    highest_class = models.CharField(max_length=2, choices=choices(PriorityClass), default=PriorityClass.P0.value)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "API key"
        constraints = (
            models.CheckConstraint(
                condition=Q(highest_class__in=[word.value for word in PriorityClass]), name="api_key_class_is_a_priority_class"
            ),
            models.CheckConstraint(
                condition=Q(scopes__contained_by=[word.value for word in Scope]) & Q(scopes__len__gt=0), name="api_key_has_known_scopes"
            ),
            models.CheckConstraint(condition=Q(secret_sha256__regex="^[0-9a-f]{64}$"), name="api_key_stores_a_digest_only"),  # noqa: S106
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")), name="api_key_expires_after_its_creation"
            ),
        )

    def __str__(self) -> str:
        return f"gbx_{self.prefix}_…"


class ModelQuota(models.Model):
    """What a provider allows for one model a minute, what of it is reserved for p0, and what p3 may take."""

    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=120)
    tokens_per_minute = models.PositiveBigIntegerField(validators=[MinValueValidator(1000)])
    requests_per_minute = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    p0_reserved = models.FloatField(
        default=0.3,
        validators=[MinValueValidator(0.0), MaxValueValidator(0.9)],
        help_text="The fraction of the quota, 0 to 0.9, that only p0 may use.",
    )
    p3_cap = models.FloatField(
        default=0.6,
        validators=[MinValueValidator(0.05), MaxValueValidator(1.0)],
        help_text="The most that p3 may use, 0.05 to 1, of the quota; never what is reserved for p0.",
    )
    tokens_per_day = models.PositiveBigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1000)], help_text="Empty where the provider limits no day."
    )
    requests_per_day = models.PositiveBigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="Empty where the provider limits no day."
    )
    day_zone = models.CharField(
        max_length=64, default="UTC", validators=[must_be_a_zone], help_text="The time zone whose midnight begins the provider's day."
    )

    class Meta:
        ordering = ("provider", "model")
        constraints = (
            models.UniqueConstraint(fields=("provider", "model"), name="model_has_one_quota"),
            models.CheckConstraint(condition=Q(tokens_per_minute__gte=1000), name="model_quota_allows_a_thousand_tokens_a_minute"),
            models.CheckConstraint(condition=Q(requests_per_minute__gte=1), name="model_quota_allows_a_request_a_minute"),
            models.CheckConstraint(
                condition=Q(tokens_per_day__isnull=True) | Q(tokens_per_day__gte=1000), name="model_quota_allows_a_thousand_tokens_a_day"
            ),
            models.CheckConstraint(
                condition=Q(requests_per_day__isnull=True) | Q(requests_per_day__gte=1), name="model_quota_allows_a_request_a_day"
            ),
            models.CheckConstraint(condition=Q(p0_reserved__gte=0, p0_reserved__lte=0.9), name="p0_reserve_leaves_a_tenth_to_the_others"),
            models.CheckConstraint(condition=Q(p3_cap__gte=0.05, p3_cap__lte=1), name="p3_cap_is_a_twentieth_to_all"),
            models.CheckConstraint(
                condition=Q(p3_cap__lte=1.000001 - F("p0_reserved")),
                name="p3_cap_stays_clear_of_the_p0_reserve",
                violation_error_message="p3's cap and p0's reserve together must not exceed 1.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class ModelUse(models.Model):
    """What a model's minute held when somebody last looked: what a wiped store is rebuilt from, beside the ledger."""

    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=120)
    seen_at = models.DateTimeField()
    used = models.JSONField()
    """By class: tokens and requests."""

    class Meta:
        constraints = (models.UniqueConstraint(fields=("provider", "model"), name="model_has_one_use"),)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"
