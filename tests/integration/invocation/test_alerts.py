"""Alerts: opened once, closed when the objective is kept again, told to the log and, signed, to the operator's own address."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings
from structlog.testing import capture_logs

from invocation.domain.slo import AlertKind
from invocation.domain.webhooks import HOUSE, Answer, DeliveryState, Verdict, headers
from invocation.gateways import sealing
from invocation.gateways.presence import own_connection
from invocation.models import Alert, Delivery, Job, Webhook
from invocation.selectors import alerts as seen
from invocation.services import deliveries, slo
from invocation.services.deliveries import Tried
from invocation.services.dispatching import LEADER
from tests.integration.invocation.rows import NOW, a_job, a_process

MINUTE = timedelta(minutes=1)
SECRET = "whsec_" + base64.b64encode(b"operators" * 4).decode()
AGE = AlertKind.OLDEST_AGE


@pytest.fixture(autouse=True)
def led(db: None) -> Iterator[None]:
    with own_connection() as session:
        session.execute("SELECT pg_advisory_lock(%s)", [LEADER])
        yield


@pytest.fixture
def operator(settings: Settings) -> None:
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = "https://alerts.example/hook", SECRET


def ticks(*minutes: int) -> None:
    for minute in minutes:
        slo.keep(now=NOW + MINUTE * minute)


def deliveries_due(now: datetime) -> list[Delivery]:
    return list(Delivery.objects.filter(pk__in=[each.id for each in deliveries.take(now=now)]))


def is_open(kind: AlertKind, name: str = "p1") -> bool:
    return seen.standing()[kind, name]


def test_a_job_that_waits_too_long_opens_one_alert_and_its_start_closes_it() -> None:
    a_process(lease=timedelta(hours=1))
    job = a_job(queued_at=NOW - MINUTE * 2)
    ticks(0, 1, 2)
    [alert] = Alert.objects.filter(kind=AGE)
    assert (alert.priority_class, alert.opened_at, alert.closed_at, alert.found, alert.bound) == ("p1", NOW, None, 120, 60)

    Job.objects.filter(pk=job.pk).delete()
    ticks(3)
    assert is_open(AGE)
    ticks(4)
    alert.refresh_from_db()
    assert alert.closed_at == NOW + MINUTE * 4
    assert not is_open(AGE)


def test_a_second_breach_is_a_second_alert() -> None:
    for start in (0, 10):
        job = a_job(queued_at=NOW + MINUTE * (start - 5))
        ticks(start)
        Job.objects.filter(pk=job.pk).delete()
        ticks(start + 1, start + 2)

    assert Alert.objects.filter(kind=AGE, closed_at__isnull=False).count() == 2


def test_workers_that_are_all_gone_are_told_while_work_waits() -> None:
    a_job()
    ticks(0)
    assert not is_open(AlertKind.POOL_EMPTY)
    ticks(1)
    assert is_open(AlertKind.POOL_EMPTY)
    a_process(lease=timedelta(hours=1))
    ticks(2)
    assert not is_open(AlertKind.POOL_EMPTY)


def test_an_alert_is_open_once() -> None:
    a_job(queued_at=NOW - MINUTE * 2)
    ticks(0)
    alert = Alert.objects.get(kind=AGE)
    alert.pk = None
    with pytest.raises(IntegrityError, match="alert_is_open_once"), transaction.atomic():
        Alert.objects.create(kind=AGE, priority_class="p1", sentence="again", found=1, bound=1, opened_at=NOW)


def test_the_log_hears_of_both_ends() -> None:
    job = a_job(queued_at=NOW - MINUTE * 2)
    with capture_logs() as said:
        ticks(0)
        Job.objects.filter(pk=job.pk).delete()
        ticks(1, 2)
    told = [(line["log_level"], line["event"], line["priority_class"]) for line in said if line.get("kind") == AGE]

    assert told == [("error", "alert_opened", "p1"), ("info", "alert_closed", "p1")]


def test_without_an_address_nobody_is_called() -> None:
    a_job(queued_at=NOW - MINUTE * 2)
    ticks(0)

    assert Alert.objects.exists()
    assert not Webhook.objects.exists()


@pytest.mark.usefixtures("operator")
def test_the_operators_address_is_told_of_both_ends_as_a_webhook() -> None:
    job = a_job(queued_at=NOW - MINUTE * 2)
    ticks(0)
    Job.objects.filter(pk=job.pk).delete()
    ticks(1, 2)
    bodies = [json.loads(body) for body in Delivery.objects.order_by("created_at").values_list("body", flat=True)]
    told = [(body["type"], body["data"]["closed_at"]) for body in bodies if body["data"]["kind"] == AGE]

    assert told == [("alert.opened", None), ("alert.closed", (NOW + MINUTE * 2).isoformat())]
    opened = next(body for body in bodies if body["data"]["kind"] == AGE)
    assert opened["data"]["sentence"].startswith("The oldest that waits in p1 has waited 120 s")
    assert (opened["data"]["found"], opened["data"]["bound"], opened["timestamp"]) == (120, 60, NOW.isoformat())


@pytest.mark.usefixtures("operator")
def test_an_alert_is_due_at_once_and_signed_with_the_operators_secret() -> None:
    a_job(queued_at=NOW - MINUTE * 2)
    ticks(0)
    taken = next(each for each in deliveries.take(now=NOW) if AGE in each.body)
    sent = headers(taken.id, taken.body.encode(), secrets=[sealing.unseal(taken.secret)], now=NOW)
    signed = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.{taken.body}".encode()
    expected = base64.b64encode(hmac.digest(b"operators" * 4, signed, hashlib.sha256)).decode()

    assert taken.url == "https://alerts.example/hook"
    assert sent["webhook-signature"] == f"v1,{expected}"
    assert "whsec" not in taken.secret


@pytest.mark.usefixtures("operator")
def test_an_alert_that_is_not_kept_is_not_told() -> None:
    """Alert and delivery are of one transaction."""
    a_job(queued_at=NOW - MINUTE * 2)
    with transaction.atomic():
        ticks(0)
        transaction.set_rollback(True)

    assert not Alert.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    "changed",
    [{"ALERT_WEBHOOK_URL": "https://other.example/hook"}, {"ALERT_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"x" * 24).decode()}],
)
@pytest.mark.usefixtures("operator")
def test_another_address_or_secret_holds_from_the_next_alert_on(settings: Settings, changed: dict[str, Any]) -> None:
    a_job(queued_at=NOW - MINUTE * 2)
    ticks(0)
    Webhook.objects.update(is_enabled=False, disabled_at=NOW, disabled_reason="gone")
    for name, value in changed.items():
        setattr(settings, name, value)
    a_job(queued_at=NOW - MINUTE * 9, priority_class="p2", mode="scheduled-trigger")
    ticks(1)
    [webhook] = Webhook.objects.all()

    assert webhook.is_enabled
    assert webhook.url == settings.ALERT_WEBHOOK_URL
    assert sealing.unseal(webhook.secret) == settings.ALERT_WEBHOOK_SECRET


@pytest.mark.usefixtures("operator")
def test_the_operators_webhook_is_enabled_again_at_the_next_alert_whoever_disabled_it() -> None:
    a_job(queued_at=NOW - MINUTE * 2)
    ticks(0)
    Webhook.objects.update(is_enabled=False, disabled_at=NOW, disabled_reason="asked", failing_since=NOW)
    a_job(queued_at=NOW - MINUTE * 9, priority_class="p2", mode="scheduled-trigger")
    with capture_logs() as said:
        ticks(1)

    assert Webhook.objects.values_list("is_enabled", "disabled_at", "failing_since").get() == (True, None, None)
    assert "alert_webhook_is_enabled_again" in {line["event"] for line in said}
    assert {each.due_at for each in deliveries_due(NOW + MINUTE)} == {NOW, NOW + MINUTE}


@pytest.mark.parametrize("answer", [Answer(status=410), Answer(status=500)])
@pytest.mark.usefixtures("operator")
def test_the_operators_webhook_is_not_disabled_whatever_it_answers(answer: Answer) -> None:
    a_job(queued_at=NOW - MINUTE * 2)
    ticks(0)
    Webhook.objects.update(failing_since=NOW - timedelta(days=6))
    tried = [Tried(taken=each, at=NOW, answer=answer, verdict=Verdict(DeliveryState.FAILED)) for each in deliveries.take(now=NOW)]
    deliveries.settle(tried, now=NOW)

    assert tried
    assert Webhook.objects.get().is_enabled


@pytest.mark.usefixtures("operator")
def test_no_tenant_owns_the_operators_webhook() -> None:
    a_job(queued_at=NOW - MINUTE * 2)
    ticks(0)
    webhook = Webhook.objects.get()

    assert webhook.tenant_id == HOUSE
    assert webhook.takes_all_jobs is False
