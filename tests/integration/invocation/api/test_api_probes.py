from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from invocation.domain.jobs import JobState
from invocation.gateways import reach
from invocation.services import slo
from quota.domain.callers import Scope
from quota.models import ModelQuota
from tests.integration.invocation.api.calling import Account, open_account, refusal
from tests.integration.invocation.rows import a_job, a_process


def test_a_process_that_answers_is_alive() -> None:
    assert Client().get("/healthz").json() == {"status": "alive"}


def test_an_installation_is_ready_when_what_it_stands_on_is(db: None, now: datetime) -> None:
    a_process("p1", now=now)
    told = Client().get("/readyz")

    assert told.status_code == 200
    assert told.json() == {
        "status": "ready",
        "checks": {"database": "ready", "migrations": "ready", "redis": "ready", "process": "ready"},
        "workers": {"p0": 0, "p1": 1, "p2": 0, "p3": 0},
    }


def test_an_installation_without_redis_is_not_ready_and_says_so(db: None, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    reach._client.cache_clear()
    try:
        told = Client().get("/readyz")
    finally:
        reach._client.cache_clear()

    assert told.status_code == 503
    assert told.json()["checks"]["redis"] == "out of reach"


@pytest.mark.django_db(transaction=True)
def test_an_installation_with_migrations_to_come_is_not_ready() -> None:
    call_command("migrate", "sessions", "zero", verbosity=0)
    try:
        told = Client().get("/readyz")
    finally:
        call_command("migrate", "sessions", verbosity=0)

    assert told.status_code == 503
    assert "1 not applied" in told.json()["checks"]["migrations"]


def figure(text: str, name: str, **labels: str) -> float:
    wanted = "".join(f'(?=[^}}]*{label}="{value}")' for label, value in labels.items())
    found = re.search(rf"^{name}{{{wanted}[^}}]*}} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_metrics_tell_depth_age_and_slots_by_class(db: None) -> None:
    now = datetime.now(UTC)
    a_process("p1", slots=4, now=now)
    a_job(JobState.WORKING)
    for minutes in (1, 5):
        a_job(JobState.QUEUED, queued_at=now - timedelta(minutes=minutes))
    text = Client().get("/metrics").content.decode()

    assert figure(text, "gearbox_queue_depth", priority_class="p1", mode="async-queue") == 2
    assert 300 <= figure(text, "gearbox_queue_oldest_seconds", priority_class="p1", mode="async-queue") < 360
    assert figure(text, "gearbox_queue_depth", priority_class="p3", mode="batch-window") == 0
    assert figure(text, "gearbox_slots", priority_class="p1") == 4
    assert figure(text, "gearbox_slots_in_use", priority_class="p1") == 1


def test_metrics_tell_every_alert_that_there_can_be_and_which_are_open(db: None) -> None:
    now = datetime.now(UTC)
    a_job(JobState.QUEUED, queued_at=now - timedelta(minutes=5))
    slo.keep(now=now)
    text = Client().get("/metrics").content.decode()

    assert figure(text, "gearbox_alert", kind="oldest_age", priority_class="p1") == 1
    assert figure(text, "gearbox_alert", kind="oldest_age", priority_class="p2") == 0
    assert figure(text, "gearbox_alert", kind="dead_letter_share", priority_class="p1") == 0
    assert figure(text, "gearbox_dead_letter_share", priority_class="p1") == 0


def test_metrics_tell_how_slots_were_used_over_ten_minutes(db: None) -> None:
    now = datetime.now(UTC)
    a_process("p1", slots=4, now=now, lease=timedelta(hours=1))
    for _ in range(3):
        a_job(JobState.WORKING)
    for minutes in reversed(range(10)):
        slo.keep(now=now - timedelta(minutes=minutes))
    text = Client().get("/metrics").content.decode()

    assert figure(text, "gearbox_slot_utilisation", priority_class="p1") == 0.75


def test_metrics_tell_what_is_used_of_each_models_quota(db: None) -> None:
    ModelQuota.objects.create(provider="test", model="told", tokens_per_minute=5_000, requests_per_minute=10)
    text = Client().get("/metrics").content.decode()

    told = {"provider": "test", "model": "told", "window": "minute", "unit": "tokens"}
    assert figure(text, "gearbox_quota_ceiling", **told) == 5_000
    assert figure(text, "gearbox_quota_used", **told, priority_class="p3") == 0
    assert figure(text, "gearbox_model_out", provider="test", model="told") == 0


def test_metrics_are_for_this_machine_or_a_key_that_may_read(account: Account) -> None:
    abroad = Client(REMOTE_ADDR="203.0.113.9")
    proxied = Client(headers={"X-Forwarded-For": "203.0.113.9"})
    unable = open_account(scopes=[Scope.INVOKE])

    refusal(abroad.get("/metrics"), status=401, code="bad_key")
    refusal(proxied.get("/metrics"), status=401, code="bad_key")
    refusal(abroad.get("/metrics", headers={"Authorization": unable.bearer}), status=403, code="scope_missing")
    assert abroad.get("/metrics", headers={"Authorization": account.bearer}).status_code == 200
