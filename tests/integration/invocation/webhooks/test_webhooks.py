"""Keeping webhooks and their secrets, and writing down what they are to be told."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from invocation.domain.errors import NotFound, StaleMove, TooManyWebhooks, UrlRefused
from invocation.domain.jobs import JobState
from invocation.domain.webhooks import EVENTS, MOST_WEBHOOKS, Disabled, WebhookEvent
from invocation.gateways import sealing
from invocation.models import Delivery, Webhook
from invocation.selectors.webhooks import owned_webhook
from invocation.services import deliveries, webhooks
from invocation.services.webhooks import WebhookTerms
from tests.integration.invocation.rows import NOW
from tests.integration.invocation.webhooks.rows import SECOND, URL, Kept, a_webhook, disabled, moved, settled, told


def test_a_webhook_is_kept_without_its_secret_in_the_clear(db: None) -> None:
    kept = a_webhook(description="shop")
    row = Webhook.objects.values().get(pk=kept.row.pk)

    assert kept.secret not in str(row)
    assert kept.secret.removeprefix("whsec_") not in str(row)
    assert sealing.unseal(kept.now.secret) == kept.secret
    assert (row["url"], row["description"], row["is_enabled"], row["events"]) == (URL, "shop", True, sorted(map(str, WebhookEvent)))


def test_a_secret_sealed_twice_looks_different_and_opens_under_an_older_key(settings: Any) -> None:
    sealed = sealing.seal("whsec_x")

    assert sealed != sealing.seal("whsec_x")
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    assert sealing.unseal(sealed) == "whsec_x"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(sealing.SealBroken):
        sealing.unseal(sealed)


@pytest.mark.parametrize("url", ["http://hooks.example.com/", "https://127.0.0.1/", "https://a:b@hooks.example.com/"])
def test_a_url_that_leads_elsewhere_is_neither_kept_nor_changed_to(db: None, url: str) -> None:
    kept = a_webhook()
    with pytest.raises(UrlRefused):
        a_webhook(url=url)
    with pytest.raises(UrlRefused):
        webhooks.change(kept.row.pk, WebhookTerms(url=url, events=tuple(WebhookEvent)))

    assert list(Webhook.objects.values_list("url", flat=True)) == [URL]


def test_development_reaches_this_machine(db: None, settings: Any) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True

    assert a_webhook(url="http://127.0.0.1:8000/").now.url == "http://127.0.0.1:8000/"


def test_a_tenant_keeps_only_so_many_however_many_come_at_once(transactional_db: None) -> None:
    tenant, start = uuid4(), threading.Barrier(4)

    def keeping(_: int) -> int:
        made = 0
        try:
            start.wait(10)
            for _ in range(MOST_WEBHOOKS // 2):
                try:
                    a_webhook(tenant)
                    made += 1
                except TooManyWebhooks:
                    break
            return made
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(keeping, range(4))) == MOST_WEBHOOKS
    assert Webhook.objects.filter(tenant_id=tenant).count() == MOST_WEBHOOKS
    assert a_webhook(uuid4()).now.is_enabled


def test_a_rotated_secret_signs_beside_the_new_one_for_a_day_and_then_is_forgotten(db: None) -> None:
    kept = a_webhook()
    second = webhooks.rotate(kept.row.pk, now=NOW)
    found = kept.now

    assert (sealing.unseal(found.secret), sealing.unseal(found.previous_secret)) == (second, kept.secret)
    assert found.previous_until == NOW + timedelta(hours=24)

    told(kept, times=2, now=NOW)
    (early, _) = deliveries.take(now=NOW + timedelta(hours=24) - SECOND)
    assert sealing.unseal(early.previous_secret) == kept.secret
    (late, _) = deliveries.take(now=NOW + timedelta(hours=24, minutes=2))
    assert late.previous_secret == ""

    webhooks.forget_old_secrets(now=NOW + timedelta(hours=23))
    assert kept.now.previous_secret
    webhooks.forget_old_secrets(now=NOW + timedelta(hours=24))
    assert (kept.now.previous_secret, kept.now.previous_until) == ("", None)


def test_a_webhook_that_is_disabled_keeps_its_first_reason_until_it_is_enabled(db: None) -> None:
    kept = a_webhook()
    webhooks.disable([kept.row.pk], reason=Disabled.GONE, now=NOW)
    webhooks.disable([kept.row.pk], reason=Disabled.ASKED, now=NOW + SECOND)
    found = kept.now
    assert (found.is_enabled, found.disabled_at, found.disabled_reason) == (False, NOW, "gone")

    for _ in range(2):
        webhooks.enable(kept.row.pk)
    assert (kept.now.is_enabled, kept.now.disabled_at, kept.now.disabled_reason) == (True, None, "")


@pytest.mark.parametrize("state", EVENTS)
def test_what_became_of_a_job_is_told_and_nothing_else_of_it(db: None, state: JobState, settings: Any) -> None:
    settings.PUBLIC_URL = "https://gearbox.example.com"
    kept = a_webhook()
    move = moved(kept.row.tenant_id, state=state)
    webhooks.tell([move], now=NOW)
    (delivery,) = kept.deliveries

    assert json.loads(delivery.body) == {
        "type": f"job.{state}",
        "timestamp": "2026-11-20T12:00:00.000000Z",
        "data": {"job_id": str(move.id), "state": str(state), "result_url": f"https://gearbox.example.com/v1/jobs/{move.id}/result"},
    }
    assert (delivery.state, delivery.tries, delivery.due_at, delivery.job_id, delivery.type) == ("pending", 0, NOW, move.id, f"job.{state}")


def test_the_id_of_a_delivery_is_a_uuid_of_version_7_of_its_moment(db: None) -> None:
    kept = a_webhook()
    ids = [each.pk for each in told(kept, times=50)]

    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert {datetime.fromtimestamp((each.int >> 80) / 1000, UTC) for each in ids} == {NOW}
    assert len(set(ids)) == 50


def test_a_move_on_the_way_is_not_told(db: None) -> None:
    kept = a_webhook()
    webhooks.tell([moved(kept.row.tenant_id, state=JobState.WAITING), moved(kept.row.tenant_id, state=JobState.QUEUED)], now=NOW)
    webhooks.tell([], now=NOW)

    assert kept.deliveries == []


def test_a_whole_group_is_told_by_one_statement(db: None) -> None:
    first, second = a_webhook(), a_webhook()
    webhooks.tell([moved(first.row.tenant_id) for _ in range(20)] + [moved(second.row.tenant_id)], now=NOW)

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT cmin::text) FROM invocation_delivery")
        assert cursor.fetchone() == (1,), "one command wrote every row"
    assert (len(first.deliveries), len(second.deliveries)) == (20, 1)


def test_only_the_tenants_own_enabled_webhooks_that_hear_the_event_are_told(db: None) -> None:
    tenant = uuid4()
    wanted, deaf = a_webhook(tenant), a_webhook(tenant, events=[WebhookEvent.FAILED])
    off, stranger = disabled(a_webhook(tenant)), a_webhook()
    webhooks.tell([moved(tenant)], now=NOW)

    assert [len(each.deliveries) for each in (wanted, deaf, off, stranger)] == [1, 0, 0, 0]


def test_a_job_that_names_a_webhook_tells_that_one_alone(db: None) -> None:
    tenant = uuid4()
    general, named = a_webhook(tenant), a_webhook(tenant, takes_all_jobs=False)
    webhooks.tell([moved(tenant)], now=NOW)
    assert [len(general.deliveries), len(named.deliveries)] == [1, 0]

    webhooks.tell([moved(tenant, webhook_id=named.row.pk)], now=NOW)
    assert [len(general.deliveries), len(named.deliveries)] == [1, 1]

    webhooks.tell([moved(tenant, webhook_id=uuid4()), moved(uuid4(), webhook_id=named.row.pk)], now=NOW)
    assert Delivery.objects.count() == 2


def in_another_session(act: Any) -> threading.Thread:
    def acting() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=acting)
    thread.start()
    return thread


def test_a_job_waits_for_nobody_who_works_on_the_webhook(transactional_db: None) -> None:
    """A job's transaction neither waits nor fails while its webhook is being changed or deleted, or its row is being removed."""
    changing, deleting, removing = a_webhook(), a_webhook(), a_webhook()
    webhooks.delete(removing.row.pk, now=NOW)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            webhooks.disable([uuid4()], reason=Disabled.ASKED, now=NOW)
            webhooks.rotate(changing.row.pk, now=NOW)
            deliveries.forget_deleted()
            webhooks.delete(deleting.row.pk, now=NOW)
            held.set()
            done.wait(20)

    thread = in_another_session(hold)
    try:
        assert held.wait(10)
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '2s'")
            webhooks.tell([moved(each.row.tenant_id) for each in (changing, deleting, removing)], now=NOW)
    finally:
        done.set()
        thread.join()

    assert [len(each.deliveries) for each in (changing, deleting, removing)] == [1, 1, 0]
    deliveries.forget_deleted()
    assert [each.pk for each in Webhook.objects.all()] == [changing.row.pk]


def test_a_webhook_is_deleted_after_the_jobs_that_tell_it(transactional_db: None) -> None:
    kept = a_webhook()
    with transaction.atomic():
        webhooks.tell([moved(kept.row.tenant_id)], now=NOW)
        thread = in_another_session(lambda: deleted(kept))
        thread.join(10)
        assert not thread.is_alive()
    assert Webhook.objects.exists()
    assert len(kept.deliveries) == 1

    deliveries.forget_deleted()
    assert not Webhook.objects.exists()
    assert not Delivery.objects.exists()


def deleted(kept: Kept, *, now: datetime = NOW) -> None:
    webhooks.delete(kept.row.pk, now=now)
    deliveries.forget_deleted()


def test_a_webhook_goes_with_its_log_and_leaves_the_others(db: None) -> None:
    kept, other = a_webhook(), a_webhook()
    told(kept, times=3)
    told(other)
    for taken in deliveries.take(now=NOW):
        settled(taken)
    for _ in range(2):
        deleted(kept)

    assert [each.pk for each in Webhook.objects.all()] == [other.row.pk]
    assert [each.log.count() for each in Delivery.objects.all()] == [1]


def test_a_deleted_webhook_is_forgotten_at_once_and_comes_back_by_no_call(db: None) -> None:
    kept = a_webhook(description="shop")
    (delivery,) = told(kept)
    webhooks.rotate(kept.row.pk, now=NOW)
    webhooks.delete(kept.row.pk, now=NOW)
    webhooks.delete(kept.row.pk, now=NOW + SECOND)
    webhooks.enable(kept.row.pk)
    webhooks.change(kept.row.pk, WebhookTerms(url=URL, events=tuple(WebhookEvent)))
    left = kept.now

    assert (left.url, left.description, left.secret, left.previous_secret, left.previous_until) == ("", "", "", "", None)
    assert (left.is_enabled, left.disabled_at) == (False, NOW)
    with pytest.raises(StaleMove):
        deliveries.replay(delivery.pk, now=NOW)
    with pytest.raises(NotFound):
        owned_webhook(kept.row.tenant_id, kept.row.pk)
    assert deliveries.take(now=NOW) == []
    assert len(told(kept)) == 1


@pytest.mark.parametrize(
    ("columns", "law"),
    [
        ({"events": ["job.exploded"]}, "webhook_hears_known_events"),
        ({"events": []}, "webhook_hears_known_events"),
        ({"is_enabled": False}, "webhook_is_disabled_for_a_reason"),
        ({"disabled_reason": "gone"}, "webhook_is_disabled_for_a_reason"),
        ({"previous_secret": "x"}, "webhook_signs_twice_until_a_moment"),
        ({"previous_until": NOW}, "webhook_signs_twice_until_a_moment"),
    ],
)
def test_the_database_keeps_the_law_of_webhooks(db: None, columns: dict[str, Any], law: str) -> None:
    kept = a_webhook()
    with pytest.raises(IntegrityError, match=law), transaction.atomic():
        Webhook.objects.filter(pk=kept.row.pk).update(**columns)


def test_unknown_ids_are_of_no_harm(db: None) -> None:
    webhooks.delete(UUID(int=1), now=NOW)
    webhooks.enable(UUID(int=1))
    webhooks.disable([], reason=Disabled.ASKED, now=NOW)

    assert not Webhook.objects.exists()
