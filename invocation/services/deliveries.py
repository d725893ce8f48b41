"""Deliveries: the one writer of their state. They are taken, settled, sent again by hand, and forgotten in the end."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from invocation.domain.errors import StaleMove
from invocation.domain.webhooks import (
    GIVES_UP_AFTER,
    GONE,
    KEPT,
    MOST_AT_ONCE,
    MOST_OF_A_TENANT,
    MOST_OF_A_WEBHOOK,
    OPERATORS,
    Answer,
    DeliveryState,
    Disabled,
    Verdict,
)
from invocation.models import Delivery, DeliveryTry, Webhook
from invocation.selectors.webhooks import DELETED_URL
from invocation.services import webhooks

LEASE = timedelta(seconds=60)
"""Outlasts a call and its settling. What a killed sender had taken is due again when it ends."""
PAGE = 1_000
WITHIN = timedelta(seconds=5)
"""What is left of deleted webhooks is removed in such pages, for so long at a time."""
TAKING = 0x6765_6172_0001
"""The advisory lock under which places are counted and taken."""

# A log's statistics are never fresh, and one bad plan reads it whole: in this transaction only indexes are walked.
ALONE = """
SELECT pg_try_advisory_xact_lock(%s),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)
"""

# Webhooks that wait are found by stepping through the index, one probe each: the cost does not grow with the backlog.
TAKE = """
WITH RECURSIVE under_way AS (
    SELECT webhook_id, tenant_id, count(*) AS calls FROM invocation_delivery WHERE taken_until > %(now)s GROUP BY webhook_id, tenant_id
),
waiting AS (
    (SELECT webhook_id FROM invocation_delivery WHERE state = %(pending)s ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT next.webhook_id FROM invocation_delivery AS next
        WHERE next.state = %(pending)s AND next.webhook_id > waiting.webhook_id ORDER BY next.webhook_id LIMIT 1
    )
    FROM waiting WHERE waiting.webhook_id IS NOT NULL
),
free AS (
    SELECT webhook.id, webhook.tenant_id, coalesce(under_way.calls, 0) AS calls,
        greatest(0, %(of_a_webhook)s - coalesce(under_way.calls, 0)) AS places
    FROM waiting
    JOIN invocation_webhook AS webhook ON webhook.id = waiting.webhook_id AND webhook.is_enabled
    LEFT JOIN under_way ON under_way.webhook_id = webhook.id
),
due AS (
    SELECT found.id, found.due_at, free.tenant_id,
        free.calls + row_number() OVER (PARTITION BY free.id ORDER BY found.due_at) AS turn
    FROM free CROSS JOIN LATERAL (
        SELECT delivery.id, delivery.due_at FROM invocation_delivery AS delivery
        WHERE delivery.webhook_id = free.id AND delivery.state = %(pending)s AND delivery.due_at <= %(now)s
            AND (delivery.taken_until IS NULL OR delivery.taken_until <= %(now)s)
        ORDER BY delivery.due_at LIMIT free.places
        FOR NO KEY UPDATE OF delivery SKIP LOCKED
    ) AS found
),
in_turn AS (
    SELECT due.id, due.due_at, due.turn, due.tenant_id,
        row_number() OVER (PARTITION BY due.tenant_id ORDER BY due.turn, due.due_at) AS place
    FROM due
),
chosen AS (
    SELECT in_turn.id FROM in_turn
    LEFT JOIN (SELECT tenant_id, sum(calls) AS calls FROM under_way GROUP BY tenant_id) AS busy USING (tenant_id)
    WHERE in_turn.place <= %(of_a_tenant)s - coalesce(busy.calls, 0)
    ORDER BY in_turn.turn, in_turn.due_at
    LIMIT (SELECT greatest(0, %(at_once)s - coalesce(sum(calls), 0)) FROM under_way)
)
UPDATE invocation_delivery AS delivery SET tries = delivery.tries + 1, taken_until = %(until)s
FROM invocation_webhook AS webhook
WHERE delivery.id = ANY(ARRAY(SELECT chosen.id FROM chosen)) AND webhook.id = delivery.webhook_id
RETURNING delivery.id, delivery.tries, delivery.tries - delivery.earlier_tries, delivery.body, webhook.id, webhook.url, webhook.secret,
    CASE WHEN webhook.previous_until > %(now)s THEN webhook.previous_secret ELSE '' END
"""

# The number of the try is the fence: who slept through the lease finds another number and changes nothing.
SETTLE = """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (
        id uuid, number int, at timestamptz, state text, due_at timestamptz, ended_at timestamptz,
        status int, fault text, duration_ms int, answer text)
),
settled AS (
    UPDATE invocation_delivery AS delivery
    SET state = given.state, due_at = coalesce(given.due_at, delivery.due_at), ended_at = given.ended_at, taken_until = NULL
    FROM given
    WHERE delivery.id = given.id AND delivery.tries = given.number AND delivery.state = %(pending)s
    RETURNING delivery.id
),
logged AS (
    INSERT INTO invocation_deliverytry (delivery_id, number, at, status, fault, duration_ms, answer)
    SELECT given.id, given.number, given.at, given.status, given.fault, given.duration_ms, given.answer
    FROM given JOIN settled USING (id)
)
SELECT id FROM settled
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that this process is to send now; `number` fences its settling, `tries` counts since the last replay."""

    id: UUID
    number: int
    tries: int
    body: str
    webhook_id: UUID
    url: str
    secret: str = field(repr=False)
    previous_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A try, what came of it, and what becomes of the delivery."""

    taken: Taken
    at: datetime
    answer: Answer
    verdict: Verdict


def take(*, now: datetime) -> list[Taken]:
    """Take what is due, within the bounds of a webhook, a tenant and all; each is this process's until its lease ends.

    While another process takes, nothing is taken.
    """
    bounds = {"of_a_webhook": MOST_OF_A_WEBHOOK, "of_a_tenant": MOST_OF_A_TENANT, "at_once": MOST_AT_ONCE}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ALONE, [TAKING])
        if not cursor.fetchone()[0]:
            return []
        cursor.execute(TAKE, {"now": now, "until": now + LEASE, "pending": str(DeliveryState.PENDING), **bounds})
        return [Taken(*row) for row in cursor.fetchall()]


def settle(tried: Sequence[Tried], *, now: datetime) -> None:
    """Write what came of these tries, and what follows for their webhooks; of one that was taken again meanwhile, nothing."""
    if not tried:
        return
    with transaction.atomic():
        _stay({each.taken.webhook_id for each in tried})
        with connection.cursor() as cursor:
            rows = orjson.dumps([_row(each, now=now) for each in tried], default=str).decode()
            cursor.execute(SETTLE, {"rows": rows, "pending": str(DeliveryState.PENDING)})
            settled = {row[0] for row in cursor.fetchall()}
        _judge_webhooks([each for each in tried if each.taken.id in settled], now=now)


def _stay(webhook_ids: Collection[UUID]) -> None:
    """Let none of these webhooks be deleted before this transaction ends; locked in one order, so that nobody waits in a ring."""
    list(Webhook.objects.select_for_update(no_key=True).filter(pk__in=webhook_ids).order_by("pk").values_list("pk"))


def _row(tried: Tried, *, now: datetime) -> dict[str, Any]:
    return {
        "id": tried.taken.id,
        "number": tried.taken.number,
        "at": tried.at,
        "state": str(tried.verdict.state),
        "due_at": tried.verdict.due_at,
        "ended_at": None if tried.verdict.state is DeliveryState.PENDING else now,
        "status": tried.answer.status,
        "fault": str(tried.answer.fault or ""),
        "duration_ms": round(tried.answer.took.total_seconds() * 1000),
        "answer": tried.answer.excerpt,
    }


def _judge_webhooks(tried: Sequence[Tried], *, now: datetime) -> None:
    """Note since when a webhook fails, and disable those that are gone, or at which nothing got through for days.

    The operator's stays enabled: nobody else would say that its alerts are heard by nobody.
    """
    reached = {each.taken.webhook_id for each in tried if each.answer.is_success}
    failing = {each.taken.webhook_id for each in tried} - reached
    exhausted = {each.taken.webhook_id for each in tried if each.verdict.state is DeliveryState.FAILED} & failing - {OPERATORS}
    gone = {each.taken.webhook_id for each in tried if each.answer.status == GONE} - {OPERATORS}
    Webhook.objects.filter(pk__in=reached, failing_since__isnull=False).update(failing_since=None)
    Webhook.objects.filter(pk__in=failing, failing_since__isnull=True).update(failing_since=now)
    webhooks.disable(gone, reason=Disabled.GONE, now=now)
    given_up = Webhook.objects.filter(pk__in=exhausted, failing_since__lte=now - GIVES_UP_AFTER).values_list("pk", flat=True)
    webhooks.disable(set(given_up), reason=Disabled.FAILING, now=now)


def replay(delivery_id: UUID, *, now: datetime) -> None:
    """Make a delivery due again, with the same id and body and all its tries before it.

    Raises StaleMove while it is being sent, while its webhook is disabled, or when it was forgotten.
    """
    with transaction.atomic():
        delivery = Delivery.objects.select_for_update(no_key=True).filter(pk=delivery_id).first()
        if delivery is None:
            raise StaleMove(f"Delivery {delivery_id} is on record no more.")
        if not Webhook.objects.filter(pk=delivery.webhook_id, is_enabled=True).exists():
            raise StaleMove("The webhook is disabled: enable it first.")
        if delivery.taken_until is not None and delivery.taken_until > now:
            raise StaleMove(f"Delivery {delivery_id} is being sent at this moment.")
        Delivery.objects.filter(pk=delivery_id).update(
            state=DeliveryState.PENDING, due_at=now, ended_at=None, taken_until=None, earlier_tries=delivery.tries
        )


def close_unwanted(*, now: datetime, most: int = 1_000) -> int:
    """Fail what is still to be sent to disabled webhooks; after they are enabled again it can be replayed."""
    unwanted = Delivery.objects.filter(state=DeliveryState.PENDING, webhook__is_enabled=False).exclude(taken_until__gt=now)
    return Delivery.objects.filter(pk__in=unwanted.values("pk")[:most], state=DeliveryState.PENDING).update(
        state=DeliveryState.FAILED, ended_at=now, taken_until=None
    )


@transaction.atomic
def forget_old(*, now: datetime, most: int = 5_000) -> int:
    """Delete what ended long ago, oldest first."""
    old = Delivery.objects.filter(ended_at__lt=now - KEPT).order_by("ended_at").select_for_update(skip_locked=True)
    return _remove(list(old.values_list("pk", flat=True)[:most]))


def forget_deleted(*, within: timedelta = WITHIN) -> int:
    """Remove deliveries of deleted webhooks, page by page for a bounded time, and the webhooks of which none is left; return how many went.

    Nobody is waited for: what another transaction works on is left for the next time.
    """
    until, gone = time.monotonic() + within.total_seconds(), 0
    while count := _remove_page():
        gone += count
        if time.monotonic() >= until:
            break
    _remove_bare_webhooks()
    return gone


@transaction.atomic
def _remove_page() -> int:
    deleted = list(Webhook.objects.filter(url=DELETED_URL).values_list("pk", flat=True))
    rows = Delivery.objects.filter(webhook__in=deleted).select_for_update(skip_locked=True)
    return _remove(list(rows.values_list("pk", flat=True)[:PAGE]))


def _remove(ids: Sequence[UUID]) -> int:
    """Delete deliveries that the caller has locked, with their tries."""
    DeliveryTry.objects.filter(delivery_id__in=ids).delete()
    Delivery.objects.filter(pk__in=ids).delete()
    return len(ids)


@transaction.atomic
def _remove_bare_webhooks() -> None:
    """A webhook to which the end of a job is writing a delivery still is locked by it, and passed over."""
    bare = Webhook.objects.filter(~Exists(Delivery.objects.filter(webhook=OuterRef("pk"))), url=DELETED_URL)
    ids = list(bare.select_for_update(skip_locked=True).values_list("pk", flat=True))
    Webhook.objects.filter(pk__in=ids).delete()
