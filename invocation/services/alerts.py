"""Alerts: opened once, closed when the objective is kept again, told to the log and to the operator's own webhook."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
import structlog
from django.conf import settings

from invocation.domain.slo import Finding, Standing
from invocation.domain.webhooks import HOUSE, OPERATORS, DeliveryState, WebhookEvent
from invocation.gateways import sealing
from invocation.models import Alert, Delivery, Webhook

__all__ = ["Finding", "follow", "log_all"]

log = structlog.get_logger()
LONGEST_SENTENCE = 400
OPENED, CLOSED = "alert.opened", "alert.closed"


def follow(findings: Sequence[Finding], *, now: datetime) -> list[Alert]:
    """Open an alert for each breach that has none, close those whose objective is kept, and return what changed.

    Joins the caller's transaction: the delivery to the operator's webhook is written in it, and sent after.
    """
    is_open = {(row.kind, row.priority_class): row for row in Alert.objects.filter(closed_at__isnull=True)}
    steps = [_step(finding, is_open.get((finding.kind, finding.priority_class)), now=now) for finding in findings]
    changed = [alert for alert in steps if alert is not None]
    _tell_the_operator(changed, now=now)
    return changed


def log_all(changed: Sequence[Alert]) -> None:
    for alert in changed:
        facts = {"kind": str(alert.kind), "priority_class": alert.priority_class, "alert": str(alert.pk)}
        if alert.closed_at is None:
            log.error("alert_opened", sentence=alert.sentence, found=alert.found, bound=alert.bound, **facts)
        else:
            log.info("alert_closed", **facts)


def _step(finding: Finding, alert: Alert | None, *, now: datetime) -> Alert | None:
    if finding.standing is Standing.BREACHED:
        return _open(finding, now=now)
    if finding.standing is Standing.KEPT and alert is not None:
        return _close(alert, now=now)
    return None


def _open(finding: Finding, *, now: datetime) -> Alert | None:
    """Return the new alert; None if one is open already."""
    alert = Alert(
        kind=finding.kind,
        priority_class=finding.priority_class,
        sentence=finding.sentence[:LONGEST_SENTENCE],
        found=finding.found,
        bound=finding.bound,
        opened_at=now,
    )
    Alert.objects.bulk_create([alert], ignore_conflicts=True)
    return Alert.objects.filter(pk=alert.pk).first()


def _close(alert: Alert, *, now: datetime) -> Alert | None:
    alert.closed_at = now
    return alert if Alert.objects.filter(pk=alert.pk, closed_at__isnull=True).update(closed_at=now) else None


def _tell_the_operator(changed: Sequence[Alert], *, now: datetime) -> None:
    if not changed or not settings.ALERT_WEBHOOK_URL:
        return
    webhook = _operators_webhook(now=now)
    Delivery.objects.bulk_create(
        [
            Delivery(
                webhook=webhook,
                tenant_id=HOUSE,
                job_id=alert.pk,
                type=_type(alert),
                body=_body(alert, now=now),
                state=DeliveryState.PENDING,
                due_at=now,
                created_at=now,
            )
            for alert in changed
        ]
    )


def _operators_webhook(*, now: datetime) -> Webhook:
    """Return the webhook that the settings name, kept as a row so that its deliveries are tried again and logged like all others.

    While the settings name it, it is enabled: who wants no alerts takes the address away.
    """
    columns = {"url": settings.ALERT_WEBHOOK_URL, "tenant_id": HOUSE, "takes_all_jobs": False, "description": "alerts to the operator"}
    webhook, _ = Webhook.objects.get_or_create(
        pk=OPERATORS, defaults={**columns, "secret": _sealed(), "events": [str(WebhookEvent.FAILED)], "created_at": now}
    )
    if not webhook.is_enabled:
        log.warning("alert_webhook_is_enabled_again", reason=webhook.disabled_reason)
    if not webhook.is_enabled or webhook.url != settings.ALERT_WEBHOOK_URL or _is_other_secret(webhook):
        is_free = {"is_enabled": True, "disabled_at": None, "disabled_reason": "", "failing_since": None}
        Webhook.objects.filter(pk=OPERATORS).update(url=settings.ALERT_WEBHOOK_URL, secret=_sealed(), **is_free)
    return webhook


def _sealed() -> str:
    return sealing.seal(settings.ALERT_WEBHOOK_SECRET)


def _is_other_secret(webhook: Webhook) -> bool:
    try:
        return sealing.unseal(webhook.secret) != settings.ALERT_WEBHOOK_SECRET
    except sealing.SealBroken:
        return True


def _type(alert: Alert) -> str:
    return OPENED if alert.closed_at is None else CLOSED


def _body(alert: Alert, *, now: datetime) -> str:
    told: dict[str, Any] = {
        "alert_id": str(alert.pk),
        "kind": str(alert.kind),
        "priority_class": alert.priority_class,
        "sentence": alert.sentence,
        "found": alert.found,
        "bound": alert.bound,
        "opened_at": alert.opened_at.isoformat(),
        "closed_at": alert.closed_at.isoformat() if alert.closed_at else None,
    }
    return orjson.dumps({"type": _type(alert), "timestamp": now.isoformat(), "data": told}).decode()
