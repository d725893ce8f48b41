"""Calls on webhooks: keep, change, enable, rotate, forget; their deliveries, and sending one again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import READS_AND_MANAGES, Call, caller_of
from invocation.api.cursors import Place, page
from invocation.api.describing import described
from invocation.api.shapes.fields import PageQuery
from invocation.api.shapes.webhooks import (
    DeliveryPage,
    DeliveryQuery,
    DeliveryShape,
    SecretShape,
    WebhookBody,
    WebhookChange,
    WebhookPage,
    WebhookShape,
    WebhookWithSecret,
)
from invocation.domain.webhooks import Disabled
from invocation.models import Webhook
from invocation.selectors import webhooks as seen
from invocation.services import deliveries, webhooks
from invocation.services.webhooks import WebhookTerms

TAG = "webhooks"
FIELDS = ("url", "events", "takes_all_jobs", "description")


class Webhooks(Call):
    scopes = READS_AND_MANAGES

    @described(
        "list_webhooks", "List webhooks, newest first", tag=TAG, answers={200: WebhookPage}, refuses=(400, 422), parameters=[PageQuery]
    )
    def get(self, request: Request) -> Response:
        asked = bodies.query(request, PageQuery)
        place = Place(caller_of(request).tenant_id, request.path, {})
        found, following = page(seen.webhooks_of(place.tenant_id), at=place, cursor=asked.get("cursor"), limit=asked["limit"])
        return Response({"items": WebhookShape(found, many=True).data, "next": following})

    @described(
        "create_webhook",
        "Keep a webhook",
        tag=TAG,
        answers={201: WebhookWithSecret},
        refuses=(400, 409, 413, 415, 422),
        request=WebhookBody,
    )
    def post(self, request: Request) -> Response:
        """Be told of jobs by POST, signed by Standard Webhooks; answer any 2xx.

        Tries go out at once, then after 1 and 5 minutes, half an hour, 4, 10 and 10 hours. A 410 disables the webhook; so do
        five days in which nothing gets through. The secret is told here and never again.
        """
        terms = WebhookTerms(**bodies.body(request, WebhookBody))
        webhook, secret = webhooks.create(caller_of(request).tenant_id, terms, now=timezone.now())
        told = {**WebhookShape(webhook).data, "secret": secret}
        return Response(told, status=201, headers={"Location": f"/v1/webhooks/{webhook.pk}"})


class OneWebhook(Call):
    scopes = READS_AND_MANAGES

    @described("read_webhook", "Read a webhook", tag=TAG, answers={200: WebhookShape}, refuses=(404,))
    def get(self, request: Request, webhook_id: UUID) -> Response:
        return Response(WebhookShape(_owned(request, webhook_id)).data)

    @described(
        "change_webhook",
        "Change fields of a webhook",
        tag=TAG,
        answers={200: WebhookShape},
        refuses=(400, 404, 413, 415, 422),
        request=WebhookChange,
    )
    def patch(self, request: Request, webhook_id: UUID) -> Response:
        """What is still to be sent goes to the new URL. A webhook that is disabled for long loses what was still to be sent; replay it."""
        webhook = _owned(request, webhook_id)
        told = bodies.body(request, WebhookChange)
        is_enabled = told.pop("is_enabled", None)
        if told:
            webhooks.change(webhook.pk, WebhookTerms(**({name: getattr(webhook, name) for name in FIELDS} | told)))
        if is_enabled is not None:
            _switch(webhook, is_enabled=is_enabled)
        return Response(WebhookShape(_owned(request, webhook_id)).data)

    @described("delete_webhook", "Forget a webhook", tag=TAG, answers={204: None}, refuses=(404,))
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        """Its deliveries are forgotten with it, those that are still to be sent too."""
        webhooks.delete(_owned(request, webhook_id).pk, now=timezone.now())
        return Response(status=204)


class RotateSecret(Call):
    scopes = READS_AND_MANAGES

    @described("rotate_secret", "Give a webhook a new secret", tag=TAG, answers={200: SecretShape}, refuses=(404,), request=None)
    def post(self, request: Request, webhook_id: UUID) -> Response:
        """For 24 hours the secret before it signs too, so that receivers can change over."""
        secret = webhooks.rotate(_owned(request, webhook_id).pk, now=timezone.now())
        until = _owned(request, webhook_id).previous_until
        return Response({"secret": secret, "previous_secret_signs_until": until})


class WebhookDeliveries(Call):
    @described(
        "list_deliveries",
        "List a webhook's deliveries, newest first, with their tries",
        tag=TAG,
        answers={200: DeliveryPage},
        refuses=(400, 404, 422),
        parameters=[DeliveryQuery],
    )
    def get(self, request: Request, webhook_id: UUID) -> Response:
        webhook = _owned(request, webhook_id)
        asked = bodies.query(request, DeliveryQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        place = Place(webhook.tenant_id, request.path, asked)
        found, following = page(seen.deliveries_of(webhook, asked), at=place, cursor=cursor, limit=limit)
        return Response({"items": DeliveryShape(found, many=True).data, "next": following})


class ReplayDelivery(Call):
    scopes = READS_AND_MANAGES

    @described("replay_delivery", "Send a delivery again", tag=TAG, answers={202: DeliveryShape}, refuses=(404, 409), request=None)
    def post(self, request: Request, webhook_id: UUID, delivery_id: UUID) -> Response:
        """It is due at once, with the same id and body, and is tried again like a new one."""
        webhook = _owned(request, webhook_id)
        deliveries.replay(seen.owned_delivery(webhook, delivery_id).pk, now=timezone.now())
        return Response(DeliveryShape(seen.owned_delivery(webhook, delivery_id)).data, status=202)


def _switch(webhook: Webhook, *, is_enabled: bool) -> None:
    if is_enabled:
        webhooks.enable(webhook.pk)
    else:
        webhooks.disable([webhook.pk], reason=Disabled.ASKED, now=timezone.now())


def _owned(request: Request, webhook_id: UUID) -> Any:
    return seen.owned_webhook(caller_of(request).tenant_id, webhook_id)
