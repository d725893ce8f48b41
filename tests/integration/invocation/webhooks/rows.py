"""Webhooks and deliveries as the services leave them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from invocation.domain.jobs import JobState
from invocation.domain.webhooks import Answer, CallFault, DeliveryState, Disabled, Verdict, WebhookEvent
from invocation.models import Delivery, Webhook
from invocation.services import deliveries, webhooks
from invocation.services.deliveries import Taken, Tried
from invocation.services.lifecycle import Moved
from invocation.services.webhooks import WebhookTerms
from tests.integration.invocation.rows import NOW

URL = "https://hooks.example.com/gearbox"
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Kept:
    """A webhook and the secret that only its owner has, and a fresh one after a rotation."""

    row: Webhook
    secret: str
    fresh: str = ""

    @property
    def now(self) -> Webhook:
        return Webhook.objects.get(pk=self.row.pk)

    @property
    def deliveries(self) -> list[Delivery]:
        return list(Delivery.objects.filter(webhook=self.row).order_by("created_at", "pk"))


def a_webhook(tenant_id: UUID | None = None, *, now: datetime = NOW, **terms: Any) -> Kept:
    said = WebhookTerms(**{"url": URL, "events": tuple(WebhookEvent), **terms})
    return Kept(*webhooks.create(tenant_id or uuid4(), said, now=now))


def disabled(kept: Kept, *, now: datetime = NOW) -> Kept:
    webhooks.disable([kept.row.pk], reason=Disabled.ASKED, now=now)
    return kept


def moved(tenant_id: UUID, *, state: JobState = JobState.COMPLETED, webhook_id: UUID | None = None) -> Moved:
    return Moved(
        id=uuid4(),
        tenant_id=tenant_id,
        state=state,
        reason="",
        priority_class="p1",
        parent_id=None,
        ordering_key=None,
        webhook_id=webhook_id,
        context_key=None,
        has_listeners=True,
    )


def told(kept: Kept, *, times: int = 1, now: datetime = NOW) -> list[Delivery]:
    """Let so many jobs of the webhook's tenant end, and return what it is to be told."""
    webhooks.tell([moved(kept.row.tenant_id) for _ in range(times)], now=now)
    return kept.deliveries


def settled(taken: Taken, answer: Answer | None = None, *, verdict: Verdict | None = None, now: datetime = NOW) -> None:
    """Settle a try: by default it got through."""
    answer = answer or Answer(status=204)
    verdict = verdict or Verdict(DeliveryState.DELIVERED if answer.is_success else DeliveryState.FAILED)
    deliveries.settle([Tried(taken=taken, at=now, answer=answer, verdict=verdict)], now=now)


def a_sent_delivery(tenant_id: UUID | None = None) -> Delivery:
    """Make a delivery whose first try failed and whose second got through."""
    kept = a_webhook(tenant_id)
    (delivery,) = told(kept)
    for answer in (Answer(status=500, excerpt="out of paper"), Answer(status=204)):
        (taken,) = [each for each in deliveries.take(now=NOW) if each.id == delivery.pk]
        settled(taken, answer, verdict=None if answer.is_success else Verdict(DeliveryState.PENDING, NOW))
    return Delivery.objects.get(pk=delivery.pk)


TIMED_OUT = Answer(fault=CallFault.TIMED_OUT)
