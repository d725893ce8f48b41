"""What batches tell is taken over into the outbox once, whoever takes it and wherever a process dies in between."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connections, transaction

from invocation.gateways.database import BATCH
from invocation.models import BatchOutbox, Outbox, OutboxReceipt
from invocation.services import outbox
from invocation.services.batches import COMPLETED_TOPIC
from tests.integration.invocation.rows import NOW

pytestmark = pytest.mark.django_db(transaction=True)


def some_news() -> BatchOutbox:
    return BatchOutbox.objects.create(topic=COMPLETED_TOPIC, run_id=uuid4(), data={"mode": "batch-window"}, at=NOW)


def left() -> tuple[int, int, int]:
    return BatchOutbox.objects.count(), Outbox.objects.count(), OutboxReceipt.objects.count()


def test_news_are_taken_over_as_they_are_and_nothing_stays_behind() -> None:
    told = some_news()

    assert (outbox.take_over(now=NOW), outbox.take_over(now=NOW)) == (1, 0)
    assert list(Outbox.objects.values_list("topic", "run_id", "data", "at")) == [(told.topic, told.run_id, told.data, told.at)]
    assert left() == (0, 1, 0)


def test_what_was_taken_over_by_a_process_that_died_before_it_was_deleted_is_only_deleted() -> None:
    OutboxReceipt.objects.create(id=some_news().pk, at=NOW)

    assert outbox.take_over(now=NOW) == 0
    assert left() == (0, 0, 0)


def test_a_receipt_is_forgotten_when_its_news_are_gone_and_not_before() -> None:
    locked = some_news()
    OutboxReceipt.objects.create(id=locked.pk, at=NOW)
    OutboxReceipt.objects.create(id=uuid4(), at=NOW)
    with Holding(locked):
        outbox.take_over(now=NOW)
        assert OutboxReceipt.objects.count() == 2
        outbox.take_over(now=NOW + outbox.SETTLED + timedelta(seconds=1))

    assert list(OutboxReceipt.objects.values_list("pk", flat=True)) == [locked.pk]


def test_two_at_once_take_each_their_own() -> None:
    with Holding(some_news()):
        some_news()
        assert outbox.take_over(now=NOW) == 1
    assert outbox.take_over(now=NOW) == 1
    assert Outbox.objects.values("run_id").distinct().count() == 2


class Holding:
    """Another process that has a row in hand, in a transaction that it takes back at the end."""

    def __init__(self, row: BatchOutbox) -> None:
        self._has, self._may_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(row,))

    def __enter__(self) -> None:
        self._thread.start()
        assert self._has.wait(20)

    def __exit__(self, *_: object) -> None:
        self._may_end.set()
        self._thread.join()

    def _hold(self, row: BatchOutbox) -> None:
        try:
            with transaction.atomic(using=BATCH):
                BatchOutbox.objects.select_for_update().get(pk=row.pk)
                self._has.set()
                self._may_end.wait(20)
        finally:
            connections.close_all()
