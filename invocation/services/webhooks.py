"""Webhooks: keeping them, their secrets, and writing down what each is to be told, in the transaction in which it happened."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from invocation.domain.destinations import check_url
from invocation.domain.errors import TooManyWebhooks
from invocation.domain.webhooks import BODY, EVENTS, MOST_WEBHOOKS, SIGNS_ON_FOR, DeliveryState, Disabled, WebhookEvent, new_secret
from invocation.gateways import destinations, sealing, statements
from invocation.models import Webhook
from invocation.selectors.webhooks import DELETED_URL, on_record, webhooks_of
from invocation.services.lifecycle import Moved

# Nobody knows before how many deliveries there will be, so their ids, UUIDs of version 7, are made by the statement.
# A webhook whose row is being removed is passed over: no job's transaction waits for it, and none fails at its commit.
TELL = """
INSERT INTO invocation_delivery (id, webhook_id, tenant_id, job_id, type, body, state, tries, earlier_tries, due_at, created_at)
SELECT
    (lpad(to_hex(floor(extract(epoch FROM now.at) * 1000)::bigint), 12, '0')
        || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid,
    webhook.id, webhook.tenant_id, moved.id, moved.type,
    format(%(body)s, moved.state, to_char(now.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), moved.id, %(api)s::text),
    %(pending)s, 0, 0, now.at, now.at
FROM (SELECT %(now)s::timestamptz AS at) AS now
CROSS JOIN unnest(%(ids)s::uuid[], %(tenants)s::uuid[], %(states)s::text[], %(types)s::text[], %(named)s::uuid[])
    AS moved (id, tenant_id, state, type, named)
JOIN invocation_webhook AS webhook
    ON webhook.tenant_id = moved.tenant_id AND webhook.is_enabled AND webhook.events ? moved.type
    AND (webhook.id = moved.named OR moved.named IS NULL AND webhook.takes_all_jobs)
FOR KEY SHARE OF webhook SKIP LOCKED
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTerms:
    """What a webhook says: tell this URL of these events, of all jobs or of those that name it."""

    url: str
    events: Sequence[WebhookEvent]
    takes_all_jobs: bool = True
    description: str = ""


def tell(moved: Sequence[Moved], *, now: datetime) -> None:
    """Write a delivery for each webhook that wants to know. Joins the caller's transaction; nothing is sent here.

    One statement for the whole group; where nobody listens, it costs nothing.
    """
    told = [each for each in moved if each.has_listeners and each.state in EVENTS]
    if told:
        statements.rows(
            TELL,
            {
                "now": now,
                "body": BODY,
                "api": settings.PUBLIC_URL,
                "pending": str(DeliveryState.PENDING),
                "ids": [each.id for each in told],
                "tenants": [each.tenant_id for each in told],
                "states": [str(each.state) for each in told],
                "types": [str(EVENTS[each.state]) for each in told],
                "named": [each.webhook_id for each in told],
            },
        )


@transaction.atomic
def create(tenant_id: UUID, terms: WebhookTerms, *, now: datetime) -> tuple[Webhook, str]:
    """Keep a webhook and return it with its secret, which is told nowhere else. Raises UrlRefused or TooManyWebhooks."""
    check_url(terms.url, reach=destinations.reach())
    _one_at_a_time(tenant_id)
    if webhooks_of(tenant_id).count() >= MOST_WEBHOOKS:
        raise TooManyWebhooks(f"You keep {MOST_WEBHOOKS} webhooks already.", most=MOST_WEBHOOKS)
    secret = new_secret()
    sealed = sealing.seal(secret)
    return Webhook.objects.create(tenant_id=tenant_id, secret=sealed, created_at=now, **_columns(terms)), secret


def change(webhook_id: UUID, terms: WebhookTerms) -> None:
    """Replace what a webhook says; what is still to be sent goes to the new URL. Raises UrlRefused."""
    check_url(terms.url, reach=destinations.reach())
    on_record(Webhook.objects.filter(pk=webhook_id)).update(**_columns(terms))


def rotate(webhook_id: UUID, *, now: datetime) -> str:
    """Give a webhook a new secret and return it; the one before signs beside it for a day, any older one no more."""
    secret = new_secret()
    with transaction.atomic():
        webhook = Webhook.objects.select_for_update(no_key=True).get(pk=webhook_id)
        Webhook.objects.filter(pk=webhook_id).update(
            secret=sealing.seal(secret), previous_secret=webhook.secret, previous_until=now + SIGNS_ON_FOR
        )
    return secret


def forget_old_secrets(*, now: datetime) -> None:
    """Drop the secrets that sign no more."""
    Webhook.objects.filter(previous_until__lte=now).update(previous_secret="", previous_until=None)


def disable(webhook_ids: Collection[UUID], *, reason: Disabled, now: datetime) -> None:
    """Tell these webhooks nothing any more. One that is disabled already keeps its reason."""
    Webhook.objects.filter(pk__in=webhook_ids, is_enabled=True).update(is_enabled=False, disabled_at=now, disabled_reason=reason)


def enable(webhook_id: UUID) -> None:
    """Tell a webhook again what happens from now on. Called again it changes nothing."""
    on_record(Webhook.objects.filter(pk=webhook_id, is_enabled=False)).update(
        is_enabled=True, disabled_at=None, disabled_reason="", failing_since=None
    )


def delete(webhook_id: UUID, *, now: datetime) -> None:
    """Forget where a webhook leads and its secrets; called again it changes nothing. It is told nothing more and is on record no more.

    Its deliveries may be many: deliveries.forget_deleted removes them and at last the bare row. Jobs that name it tell nobody.
    """
    on_record(Webhook.objects.filter(pk=webhook_id)).update(
        url=DELETED_URL,
        description="",
        secret="",
        previous_secret="",
        previous_until=None,
        is_enabled=False,
        disabled_at=now,
        disabled_reason=Disabled.ASKED,
    )


def _columns(terms: WebhookTerms) -> dict[str, Any]:
    return {
        "url": terms.url,
        "events": sorted({str(event) for event in terms.events}),
        "takes_all_jobs": terms.takes_all_jobs,
        "description": terms.description,
    }


def _one_at_a_time(tenant_id: UUID) -> None:
    """Let only one transaction at a time count and add a tenant's webhooks."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"webhooks {tenant_id}"])
