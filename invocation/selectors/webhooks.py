"""What is read of webhooks and of the log of their deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import F, OuterRef, Prefetch, QuerySet, Subquery

from invocation.domain.errors import NotFound
from invocation.models import Delivery, DeliveryTry, Webhook

DELETED_URL = ""
"""Where a deleted webhook leads: its row is without an address as long as some of its deliveries are left."""


def on_record(rows: QuerySet[Webhook]) -> QuerySet[Webhook]:
    """Narrow webhooks to those that were not deleted: nobody is shown another, and nothing of it can be changed."""
    return rows.exclude(url=DELETED_URL)


def webhooks_of(tenant_id: UUID) -> QuerySet[Webhook]:
    return on_record(Webhook.objects.filter(tenant_id=tenant_id))


def owned_webhook(tenant_id: UUID, webhook_id: UUID) -> Webhook:
    """Return the tenant's webhook. Raises NotFound, also for another tenant's."""
    found = webhooks_of(tenant_id).filter(pk=webhook_id).first()
    if found is None:
        raise NotFound(f"There is no webhook {webhook_id}.", field="id", found=str(webhook_id))
    return found


def deliveries_of(webhook: Webhook, filters: Mapping[str, Any]) -> QuerySet[Delivery]:
    """Return a webhook's deliveries with their tries in order; `filters` may name a state."""
    return with_tries(Delivery.objects.filter(webhook=webhook, **filters))


def owned_delivery(webhook: Webhook, delivery_id: UUID) -> Delivery:
    """Return a delivery of this webhook. Raises NotFound, also for another webhook's."""
    found = deliveries_of(webhook, {}).filter(pk=delivery_id).first()
    if found is None:
        raise NotFound(f"There is no delivery {delivery_id} of this webhook.", field="id", found=str(delivery_id))
    return found


def tries_of(delivery: Delivery) -> QuerySet[DeliveryTry]:
    return DeliveryTry.objects.filter(delivery=delivery).order_by("number")


def with_tries(rows: QuerySet[Delivery]) -> QuerySet[Delivery]:
    return rows.prefetch_related(Prefetch("log", DeliveryTry.objects.order_by("number")))


def with_last_answer(rows: QuerySet[Webhook]) -> QuerySet[Any]:
    """Give each webhook `last_status`, `last_fault` and `last_at`: what came of the last try of the newest delivery that was tried."""
    newest = Delivery.objects.filter(webhook=OuterRef(OuterRef("pk")), tries__gt=0).order_by("-pk").values("pk")[:1]
    tries = DeliveryTry.objects.filter(delivery=Subquery(newest)).order_by("-number")
    return rows.annotate(
        last_status=Subquery(tries.values("status")[:1]),
        last_fault=Subquery(tries.values("fault")[:1]),
        last_at=Subquery(tries.values("at")[:1]),
    )


def with_last_try(rows: QuerySet[Delivery]) -> QuerySet[Any]:
    """Give each delivery its webhook's `url`, and `last_status` and `last_fault` of its own last try."""
    tries = DeliveryTry.objects.filter(delivery=OuterRef("pk")).order_by("-number")
    return rows.annotate(
        url=F("webhook__url"), last_status=Subquery(tries.values("status")[:1]), last_fault=Subquery(tries.values("fault")[:1])
    )
