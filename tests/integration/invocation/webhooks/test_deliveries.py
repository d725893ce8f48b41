"""Deliveries: taken within bounds by one sender, settled once, sent again by hand, forgotten in the end."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from invocation.domain.errors import StaleMove
from invocation.domain.webhooks import (
    MOST_AT_ONCE,
    MOST_OF_A_TENANT,
    MOST_OF_A_WEBHOOK,
    Answer,
    CallFault,
    DeliveryState,
    Verdict,
)
from invocation.models import Delivery, DeliveryTry, Webhook
from invocation.services import deliveries, webhooks
from invocation.services.deliveries import LEASE, Taken
from tests.integration.invocation.rows import NOW
from tests.integration.invocation.webhooks.rows import SECOND, TIMED_OUT, Kept, a_webhook, disabled, moved, settled, told

DAY = timedelta(days=1)


def again(at: Any) -> Verdict:
    return Verdict(DeliveryState.PENDING, at)


def log_of(delivery: Delivery) -> list[tuple[Any, ...]]:
    return list(DeliveryTry.objects.filter(delivery=delivery).order_by("number").values_list("number", "status", "fault", "answer"))


def test_a_delivery_is_taken_when_it_is_due_by_one_and_settled(db: None) -> None:
    kept = a_webhook()
    (delivery,) = told(kept)
    assert deliveries.take(now=NOW - SECOND) == []
    (taken,) = deliveries.take(now=NOW)
    assert (taken.id, taken.number, taken.tries, taken.body, taken.url) == (delivery.pk, 1, 1, delivery.body, kept.row.url)
    assert kept.secret not in repr(taken)
    assert taken.secret not in repr(taken)
    assert deliveries.take(now=NOW + SECOND) == []

    settled(taken, Answer(status=202, excerpt="thanks", took=timedelta(milliseconds=12)), now=NOW + SECOND)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.ended_at, delivery.taken_until) == ("delivered", NOW + SECOND, None)
    assert log_of(delivery) == [(1, 202, "", "thanks")]
    assert deliveries.take(now=NOW + DAY) == []


def test_a_delivery_that_failed_waits_for_its_next_try(db: None) -> None:
    (delivery,) = told(a_webhook())
    (taken,) = deliveries.take(now=NOW)
    settled(taken, TIMED_OUT, verdict=again(NOW + 60 * SECOND))

    assert deliveries.take(now=NOW + 59 * SECOND) == []
    (later,) = deliveries.take(now=NOW + 60 * SECOND)
    assert (later.id, later.number, later.tries) == (delivery.pk, 2, 2)
    assert log_of(delivery) == [(1, None, "timed_out", "")]


def test_what_a_killed_sender_had_taken_is_due_again_when_its_lease_ends(db: None) -> None:
    (delivery,) = told(a_webhook())
    (first,) = deliveries.take(now=NOW)
    assert deliveries.take(now=NOW + LEASE - SECOND) == []
    (second,) = deliveries.take(now=NOW + LEASE)

    assert (first.id, first.number, second.id, second.number) == (delivery.pk, 1, delivery.pk, 2)


def test_a_sender_that_slept_through_its_lease_changes_nothing(db: None) -> None:
    kept = a_webhook()
    (delivery,) = told(kept)
    (zombie,) = deliveries.take(now=NOW)
    (second,) = deliveries.take(now=NOW + LEASE)
    settled(zombie, Answer(status=410), now=NOW + LEASE)
    assert kept.now.is_enabled
    assert log_of(delivery) == []

    settled(second, now=NOW + LEASE + SECOND)
    settled(zombie, TIMED_OUT, now=NOW + LEASE + 2 * SECOND)
    delivery.refresh_from_db()
    assert (delivery.state, log_of(delivery), kept.now.failing_since) == ("delivered", [(2, 204, "", "")], None)


def test_a_webhook_and_a_tenant_have_only_so_many_calls_at_once(db: None) -> None:
    tenant = uuid4()
    own = [a_webhook(tenant) for _ in range(6)]
    webhooks.tell([moved(tenant) for _ in range(10)], now=NOW)
    taken = deliveries.take(now=NOW)

    assert len(taken) == MOST_OF_A_TENANT
    assert max(Counter(each.webhook_id for each in taken).values()) <= MOST_OF_A_WEBHOOK
    assert {each.webhook_id for each in taken} == {kept.row.pk for kept in own}
    assert deliveries.take(now=NOW + SECOND) == []

    settled(taken[0], now=NOW + SECOND)
    assert len(deliveries.take(now=NOW + SECOND)) == 1


def test_a_flood_to_one_webhook_keeps_nobody_waiting(db: None) -> None:
    flooded = a_webhook()
    told(flooded, times=200)
    assert len(deliveries.take(now=NOW)) == MOST_OF_A_WEBHOOK
    other = a_webhook()
    (delivery,) = told(other, now=NOW + SECOND)

    assert [each.id for each in deliveries.take(now=NOW + SECOND)] == [delivery.pk]


def test_all_together_have_only_so_many_calls_at_once_and_take_turns(db: None) -> None:
    kept = [a_webhook() for _ in range(MOST_AT_ONCE + 10)]
    for each in kept:
        told(each, times=3)
    taken = deliveries.take(now=NOW)
    assert len(taken) == MOST_AT_ONCE == len({each.webhook_id for each in taken})
    assert deliveries.take(now=NOW) == []
    for first in taken[:12]:
        settled(first)
    more = deliveries.take(now=NOW)

    assert len(more) == 12
    assert not {each.webhook_id for each in more} & {each.webhook_id for each in taken[12:]}


def test_senders_that_take_at_once_share_the_bounds(transactional_db: None) -> None:
    kept = [a_webhook() for _ in range(20)]
    for each in kept:
        told(each, times=6)
    start = threading.Barrier(4)

    def taking(_: int) -> list[UUID]:
        try:
            start.wait(10)
            return [each.id for _ in range(5) for each in deliveries.take(now=NOW)]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        found = [each for part in pool.map(taking, range(4)) for each in part]

    assert len(found) == len(set(found)) == MOST_AT_ONCE
    busy = Counter(Delivery.objects.filter(taken_until__isnull=False).values_list("webhook_id", flat=True))
    assert max(busy.values()) <= MOST_OF_A_WEBHOOK


def test_while_one_takes_nobody_else_counts_places_that_are_about_to_be_taken(transactional_db: None) -> None:
    told(a_webhook(), times=10)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                assert len(deliveries.take(now=NOW)) == MOST_OF_A_WEBHOOK
                held.set()
                done.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        assert deliveries.take(now=NOW) == []
    finally:
        done.set()
        thread.join()
    assert deliveries.take(now=NOW) == []


def test_nothing_is_sent_to_a_disabled_webhook_and_what_waited_fails(db: None) -> None:
    kept, other = a_webhook(), a_webhook()
    told(kept, times=2)
    told(other)
    (underway, *_) = [each for each in deliveries.take(now=NOW) if each.webhook_id == kept.row.pk]
    disabled(kept)
    assert deliveries.take(now=NOW + LEASE - SECOND) == []
    assert deliveries.close_unwanted(now=NOW + SECOND) == 0, "what is under way is settled by its sender"
    settled(underway)
    assert deliveries.close_unwanted(now=NOW + LEASE) == 1

    assert sorted(each.state for each in kept.deliveries) == ["delivered", "failed"]
    assert [each.state for each in other.deliveries] == ["pending"]


def test_a_webhook_that_is_enabled_again_soon_loses_nothing(db: None) -> None:
    kept = a_webhook()
    told(kept)
    disabled(kept)
    assert deliveries.take(now=NOW) == []
    webhooks.enable(kept.row.pk)

    assert len(deliveries.take(now=NOW)) == 1


def test_gone_disables_the_webhook(db: None) -> None:
    kept, other = a_webhook(), a_webhook()
    told(kept)
    told(other)
    for taken in deliveries.take(now=NOW):
        settled(taken, Answer(status=410 if taken.webhook_id == kept.row.pk else 404))

    assert (kept.now.is_enabled, kept.now.disabled_reason, kept.now.disabled_at) == (False, "gone", NOW)
    assert other.now.is_enabled


def fail(kept: Kept, *, at: Any, verdict: Verdict) -> None:
    told(kept, now=at)
    (taken,) = deliveries.take(now=at)
    settled(taken, Answer(status=500), verdict=verdict, now=at)


def test_a_webhook_at_which_nothing_got_through_for_five_days_is_disabled(db: None) -> None:
    kept = a_webhook()
    given_up = Verdict(DeliveryState.FAILED)
    fail(kept, at=NOW, verdict=given_up)
    assert kept.now.failing_since == NOW
    fail(kept, at=NOW + 5 * DAY - SECOND, verdict=given_up)
    assert (kept.now.failing_since, kept.now.is_enabled) == (NOW, True)

    fail(kept, at=NOW + 5 * DAY, verdict=given_up)
    assert (kept.now.is_enabled, kept.now.disabled_reason) == (False, "failing")
    webhooks.enable(kept.row.pk)
    assert kept.now.failing_since is None


def test_a_delivery_that_can_still_be_tried_disables_nothing(db: None) -> None:
    kept = a_webhook()
    fail(kept, at=NOW, verdict=Verdict(DeliveryState.FAILED))
    fail(kept, at=NOW + 9 * DAY, verdict=again(NOW + 10 * DAY))

    assert kept.now.is_enabled


def test_one_success_ends_the_failing(db: None) -> None:
    kept = a_webhook()
    fail(kept, at=NOW, verdict=Verdict(DeliveryState.FAILED))
    told(kept, now=NOW + DAY)
    (taken,) = deliveries.take(now=NOW + DAY)
    settled(taken, now=NOW + DAY)
    assert kept.now.failing_since is None

    fail(kept, at=NOW + 6 * DAY, verdict=Verdict(DeliveryState.FAILED))
    found = kept.now
    assert found.is_enabled
    assert found.failing_since == NOW + 6 * DAY


def test_a_delivery_is_replayed_under_its_id_with_a_schedule_of_its_own(db: None) -> None:
    (delivery,) = told(a_webhook())
    for number in range(1, 4):
        at = NOW + number * DAY
        (taken,) = deliveries.take(now=at)
        settled(taken, TIMED_OUT, verdict=Verdict(DeliveryState.FAILED) if number == 3 else again(at + DAY), now=at)
    body, later = delivery.body, NOW + 9 * DAY
    assert deliveries.take(now=later) == []
    deliveries.replay(delivery.pk, now=later)
    (taken,) = deliveries.take(now=later)

    assert (taken.id, taken.body, taken.number, taken.tries) == (delivery.pk, body, 4, 1)
    settled(taken, now=later)
    assert [number for number, *_ in log_of(delivery)] == [1, 2, 3, 4]

    deliveries.replay(delivery.pk, now=later + DAY)
    assert [each.number for each in deliveries.take(now=later + DAY)] == [5]


def test_a_delivery_is_not_replayed_while_it_is_sent_or_its_webhook_is_disabled_or_it_is_forgotten(db: None) -> None:
    kept = a_webhook()
    (delivery,) = told(kept)
    (taken,) = deliveries.take(now=NOW)
    with pytest.raises(StaleMove, match="being sent"):
        deliveries.replay(delivery.pk, now=NOW)
    settled(taken)
    disabled(kept)
    with pytest.raises(StaleMove, match="disabled"):
        deliveries.replay(delivery.pk, now=NOW)
    with pytest.raises(StaleMove, match="no more"):
        deliveries.replay(uuid4(), now=NOW)

    delivery.refresh_from_db()
    assert delivery.state == "delivered"


def test_a_waiting_delivery_that_is_replayed_goes_at_once(db: None) -> None:
    (delivery,) = told(a_webhook())
    (taken,) = deliveries.take(now=NOW)
    settled(taken, TIMED_OUT, verdict=again(NOW + DAY))
    deliveries.replay(delivery.pk, now=NOW + SECOND)

    assert [each.id for each in deliveries.take(now=NOW + SECOND)] == [delivery.pk]


def test_the_log_is_forgotten_a_month_after_the_end_and_what_waits_never(db: None) -> None:
    kept = a_webhook()
    told(kept, times=2)
    (first, second) = deliveries.take(now=NOW)
    settled(first)
    settled(second, TIMED_OUT, verdict=again(NOW + 60 * DAY))

    assert deliveries.forget_old(now=NOW + 30 * DAY) == 0
    assert deliveries.forget_old(now=NOW + 30 * DAY + SECOND) == 1
    assert [each.pk for each in kept.deliveries] == [second.id]
    assert set(DeliveryTry.objects.values_list("delivery", flat=True)) == {second.id}


def deleted(taken: Taken) -> None:
    webhooks.delete(taken.webhook_id, now=NOW)
    deliveries.forget_deleted()


def test_what_a_deleted_webhook_was_told_goes_in_pages_and_the_webhook_with_the_last(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "PAGE", 2)
    kept, other = a_webhook(), a_webhook()
    told(kept, times=5)
    told(other)
    for taken in deliveries.take(now=NOW)[:3]:
        settled(taken)
    webhooks.delete(kept.row.pk, now=NOW)
    assert len(kept.deliveries) == 5

    assert [deliveries.forget_deleted(within=timedelta()) for _ in range(4)] == [2, 2, 1, 0]
    assert [each.pk for each in Webhook.objects.all()] == [other.row.pk]
    assert {each.webhook_id for each in Delivery.objects.all()} == {other.row.pk}
    assert not DeliveryTry.objects.exclude(delivery__webhook=other.row).exists()


def test_the_row_of_a_deleted_webhook_stays_until_its_last_delivery_went(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "PAGE", 2)
    kept = a_webhook()
    told(kept, times=3)
    webhooks.delete(kept.row.pk, now=NOW)
    deliveries.forget_deleted(within=timedelta())

    assert len(kept.deliveries) == 1
    assert Webhook.objects.exists()


def test_deleting_and_settling_at_once_leave_nothing_half_done(transactional_db: None) -> None:
    kept = [a_webhook() for _ in range(12)]
    for each in kept:
        told(each)
    taken = deliveries.take(now=NOW)
    start = threading.Barrier(2)

    def acting(act: Any) -> None:
        try:
            start.wait(10)
            for each in taken:
                act(each)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(acting, [settled, deleted]))
    deliveries.forget_deleted()

    assert not Webhook.objects.exists()
    assert not Delivery.objects.exists()
    assert not DeliveryTry.objects.exists()


@pytest.mark.parametrize(
    ("columns", "law"),
    [
        ({"state": "lost", "ended_at": NOW}, "delivery_state_is_known"),
        ({"state": "failed"}, "delivery_is_ended_only_when_not_pending"),
        ({"ended_at": NOW}, "delivery_is_ended_only_when_not_pending"),
        ({"state": "failed", "ended_at": NOW, "taken_until": NOW}, "delivery_is_taken_only_while_pending"),
        ({"earlier_tries": 1}, "delivery_tries_only_grow"),
    ],
)
def test_the_database_keeps_the_law_of_deliveries(db: None, columns: dict[str, Any], law: str) -> None:
    (delivery,) = told(a_webhook())
    with pytest.raises(IntegrityError, match=law), transaction.atomic():
        Delivery.objects.filter(pk=delivery.pk).update(**columns)


@pytest.mark.parametrize("came", [{"status": 200, "fault": "timed_out"}, {"status": None, "fault": ""}])
def test_a_try_is_logged_once_and_has_a_status_or_a_fault(db: None, came: dict[str, Any]) -> None:
    (delivery,) = told(a_webhook())
    with pytest.raises(IntegrityError, match="try_has_a_status_or_a_fault"), transaction.atomic():
        DeliveryTry.objects.create(delivery=delivery, number=1, at=NOW, duration_ms=1, **came)
    DeliveryTry.objects.create(delivery=delivery, number=1, at=NOW, duration_ms=1, fault=CallFault.DEFECT)
    with pytest.raises(IntegrityError, match="try_is_logged_once"), transaction.atomic():
        DeliveryTry.objects.create(delivery=delivery, number=1, at=NOW, duration_ms=1, status=200)
