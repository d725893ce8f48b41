"""Webhooks, what they are to be told, and each try to tell them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from uuid6 import uuid7

from invocation.domain.destinations import LONGEST_URL
from invocation.domain.webhooks import DeliveryState, Disabled, WebhookEvent
from invocation.models.columns import one_of


class Webhook(models.Model):
    """Where a tenant wants to be told of its jobs. Both secrets are sealed (gateways/sealing.py)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant_id = models.UUIDField()
    url = models.CharField(max_length=LONGEST_URL)
    events = models.JSONField()
    takes_all_jobs = models.BooleanField(default=True)
    description = models.CharField(max_length=400, blank=True)
    secret = models.TextField()
    previous_secret = models.TextField(blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    is_enabled = models.BooleanField(default=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=16, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(events__contained_by=[str(event) for event in WebhookEvent]) & ~Q(events=[]), name="webhook_hears_known_events"
            ),
            models.CheckConstraint(
                condition=Q(is_enabled=True, disabled_at__isnull=True, disabled_reason="")
                | Q(is_enabled=False, disabled_at__isnull=False, disabled_reason__in=[str(reason) for reason in Disabled]),
                name="webhook_is_disabled_for_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(previous_secret="", previous_until__isnull=True) | ~Q(previous_secret="") & Q(previous_until__isnull=False),
                name="webhook_signs_twice_until_a_moment",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("tenant_id"), condition=Q(is_enabled=True), name="webhook_listening"),
            models.Index(fields=["tenant_id", "id"], name="webhook_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One thing that one webhook is told; its id is the `webhook-id` of every try, `body` the very bytes that are signed.

    `tries` only grows and fences what a sender writes; those before the last replay are `earlier_tries`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.DO_NOTHING, related_name="deliveries", db_index=False)
    tenant_id = models.UUIDField()
    job_id = models.UUIDField()
    type = models.CharField(max_length=32)
    body = models.TextField()
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in DeliveryState])
    tries = models.PositiveIntegerField(default=0)
    earlier_tries = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    taken_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            one_of("state", DeliveryState, name="delivery_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=DeliveryState.PENDING, ended_at__isnull=True)
                | ~Q(state=DeliveryState.PENDING) & Q(ended_at__isnull=False),
                name="delivery_is_ended_only_when_not_pending",
            ),
            models.CheckConstraint(
                condition=Q(taken_until__isnull=True) | Q(state=DeliveryState.PENDING), name="delivery_is_taken_only_while_pending"
            ),
            models.CheckConstraint(condition=Q(earlier_tries__lte=F("tries")), name="delivery_tries_only_grow"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("webhook"), F("due_at"), condition=Q(state=DeliveryState.PENDING), name="delivery_due"),
            models.Index(F("webhook"), condition=Q(taken_until__isnull=False), name="delivery_taken"),
            models.Index(F("ended_at"), condition=Q(ended_at__isnull=False), name="delivery_ended"),
            models.Index(fields=["webhook", "id"], name="delivery_of_webhook"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.job_id}"


class DeliveryTry(models.Model):
    """One call of a webhook and what came of it. Append-only."""

    delivery = models.ForeignKey(Delivery, on_delete=models.DO_NOTHING, related_name="log", db_index=False)
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    fault = models.CharField(max_length=24, blank=True)
    duration_ms = models.PositiveIntegerField()
    answer = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "delivery tries"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["delivery", "number"], name="try_is_logged_once"),
            models.CheckConstraint(
                condition=Q(status__isnull=False, fault="") | Q(status__isnull=True) & ~Q(fault=""), name="try_has_a_status_or_a_fault"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.status or self.fault}"
