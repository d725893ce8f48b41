"""Sending to real receivers: signed as the standard says, whatever they answer, and never twice under two ids."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import OperationalError, connection, transaction

from invocation.domain.jobs import JobState, Move
from invocation.domain.webhooks import MOST_OF_A_WEBHOOK, DeliveryState, Disabled
from invocation.gateways import sealing
from invocation.gateways.database import off_loop
from invocation.models import Delivery, DeliveryTry, Webhook
from invocation.services import deliveries, endings, lifecycle, sending, webhooks
from invocation.tasks import control
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import a_job
from tests.integration.invocation.webhooks.receivers import Behave, Receiver, close, hang, plain, receiving, verify
from tests.integration.invocation.webhooks.rows import Kept, a_webhook
from tests.integration.invocation.webhooks.sent import end_jobs, sender, sent, spoiled, utc

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def this_machine(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True


def test_what_is_sent_verifies_by_the_text_of_the_standard(on_loop: OnLoop[Any]) -> None:
    kept, receiver = sent(on_loop)
    (heard,), (delivery,) = receiver.heard, kept.deliveries

    assert verify(heard, kept.secret) == heard.told
    assert heard.body == delivery.body.encode()
    assert (heard.id, heard.headers["content-type"]) == (str(delivery.pk), "application/json")
    assert set(heard.told) == {"type", "timestamp", "data"}
    assert (delivery.state, delivery.log.get().status) == ("delivered", 204)


@pytest.mark.parametrize("spoil", ["body", "id", "moment", "secret"])
def test_a_verifier_notices_what_was_changed(on_loop: OnLoop[Any], spoil: str) -> None:
    kept, receiver = sent(on_loop)
    changed, secret = spoiled(receiver.heard[0], kept.secret, spoil)

    with pytest.raises(AssertionError):
        verify(changed, secret)


def test_both_secrets_verify_while_a_rotation_lasts(on_loop: OnLoop[Any]) -> None:
    kept, receiver = sent(on_loop, rotates=True)
    (heard,) = receiver.heard

    assert verify(heard, kept.secret) == verify(heard, kept.fresh) == heard.told
    assert len(heard.headers["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize(
    ("behave", "came"),
    [
        (plain(500, body=b"oh"), (500, "", "oh")),
        (plain(302, location="http://127.0.0.1:1/"), (302, "", "")),
        (close, (None, "broke_off", "")),
    ],
)
def test_what_did_not_get_through_is_logged_and_due_again_in_a_minute(on_loop: OnLoop[Any], behave: Behave, came: Any) -> None:
    kept, receiver = sent(on_loop, behave)
    (delivery,) = kept.deliveries
    logged = delivery.log.get()

    assert (logged.status, logged.fault, logged.answer) == came
    assert timedelta(seconds=59) < delivery.due_at - logged.at < timedelta(seconds=70)
    assert (delivery.state, len(receiver.heard)) == ("pending", 1)
    assert kept.now.failing_since is not None


def test_a_busy_receiver_is_left_alone_for_as_long_as_it_says(on_loop: OnLoop[Any]) -> None:
    kept, _ = sent(on_loop, plain(429, retry_after="1800"))
    (delivery,) = kept.deliveries

    assert delivery.due_at - delivery.log.get().at >= timedelta(minutes=30)


def test_gone_disables_and_is_not_tried_again(on_loop: OnLoop[Any]) -> None:
    kept, receiver = sent(on_loop, plain(410))

    assert (kept.now.disabled_reason, kept.deliveries[0].state, len(receiver.heard)) == ("gone", "failed", 1)


def test_each_try_has_the_same_id_and_a_moment_of_its_own(on_loop: OnLoop[Any]) -> None:
    async def story() -> tuple[Kept, Receiver]:
        async with receiving(plain(500), plain(503), plain(200)) as receiver, sender() as sends:
            kept = await off_loop(a_webhook, url=receiver.url, now=utc())
            await off_loop(end_jobs, kept)
            for _ in range(3):
                sends.wake()
                await sends.rest()
                await off_loop(Delivery.objects.filter(state="pending").update, due_at=utc())
                await asyncio.sleep(1.01 - time.time() % 1)
            return kept, receiver

    kept, receiver = on_loop(story())
    (delivery,) = kept.deliveries

    assert [heard.id for heard in receiver.heard] == [str(delivery.pk)] * 3
    assert len({heard.headers["webhook-timestamp"] for heard in receiver.heard}) == 3
    assert len({heard.headers["webhook-signature"] for heard in receiver.heard}) == 3
    assert len({heard.body for heard in receiver.heard}) == 1
    assert [each.status for each in delivery.log.order_by("number")] == [500, 503, 200]
    assert (delivery.state, kept.now.failing_since) == ("delivered", None)


def test_a_backlog_is_sent_in_one_waking_within_the_webhooks_bound(on_loop: OnLoop[Any]) -> None:
    kept, receiver = sent(on_loop, times=60)

    assert len({heard.id for heard in receiver.heard}) == len(receiver.heard) == 60
    assert {each.state for each in kept.deliveries} == {"delivered"}
    assert 1 < receiver.most_at_once <= MOST_OF_A_WEBHOOK


def test_a_receiver_that_hangs_delays_nobody_else(on_loop: OnLoop[Any]) -> None:
    async def story() -> int:
        async with receiving(hang) as slow, receiving() as quick, sender() as sends:
            stuck = await off_loop(a_webhook, url=slow.url, now=utc())
            await off_loop(end_jobs, stuck, 50)
            sends.wake()
            await until(lambda: len(slow.heard) == MOST_OF_A_WEBHOOK)
            other = await off_loop(a_webhook, url=quick.url, now=utc())
            await off_loop(end_jobs, other, 30)
            sends.wake()
            await until(lambda: len(quick.heard) == 30)
            return await off_loop(DeliveryTry.objects.filter(delivery__webhook=stuck.row).count)

    assert on_loop(story()) == 0, "a call that hangs had ended before the others were heard"


def test_a_secret_that_cannot_be_opened_spoils_its_own_try_only(on_loop: OnLoop[Any]) -> None:
    async def story() -> tuple[Kept, Kept, Receiver]:
        async with receiving() as receiver, sender() as sends:
            broken, sound = [await off_loop(a_webhook, url=receiver.url, now=utc()) for _ in range(2)]
            await off_loop(Webhook.objects.filter(pk=broken.row.pk).update, secret="not ours")
            for each in (broken, sound):
                await off_loop(end_jobs, each)
            sends.wake()
            await sends.rest()
            return broken, sound, receiver

    broken, sound, receiver = on_loop(story())

    assert (broken.deliveries[0].state, broken.deliveries[0].log.get().fault) == ("pending", "secret_sealed")
    assert (sound.deliveries[0].state, len(receiver.heard)) == ("delivered", 1)


def test_a_defect_of_ours_spoils_one_try_and_the_sender_goes_on(on_loop: OnLoop[Any]) -> None:
    async def story() -> tuple[Kept, Kept]:
        async with receiving() as receiver, sender() as sends:
            odd, sound = [await off_loop(a_webhook, url=receiver.url, now=utc()) for _ in range(2)]
            for each in (odd, sound):
                await off_loop(end_jobs, each)
            await off_loop(Webhook.objects.filter(pk=odd.row.pk).update, secret=sealing.seal("whsec_a"))
            sends.wake()
            await sends.rest()
            return odd, sound

    odd, sound = on_loop(story())

    assert odd.deliveries[0].log.get().fault == "defect"
    assert sound.deliveries[0].state == "delivered"


def test_an_answer_outlives_a_database_that_is_away(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    really, outages = deliveries.settle, iter(range(2))

    def settle(tried: Any, *, now: datetime) -> None:
        if tried and next(outages, None) is not None:
            raise OperationalError("the database is away")
        really(tried, now=now)

    monkeypatch.setattr(deliveries, "settle", settle)
    monkeypatch.setattr(sending, "LOOK_S", 0.05)
    kept, receiver = sent(on_loop)

    assert (kept.deliveries[0].state, len(receiver.heard)) == ("delivered", 1)


def test_a_sender_that_drains_settles_what_is_under_way_and_takes_no_more(on_loop: OnLoop[Any]) -> None:
    gate = asyncio.Event()

    async def waiting(heard: Any, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await plain(204)(heard, writer)

    async def story() -> Kept:
        async with receiving(waiting) as receiver, sender() as sends:
            kept = await off_loop(a_webhook, url=receiver.url, now=utc())
            await off_loop(end_jobs, kept, 10)
            sends.wake()
            await until(lambda: len(receiver.heard) == MOST_OF_A_WEBHOOK)
            draining = asyncio.create_task(sends.drain())
            await asyncio.sleep(0.05)
            assert not draining.done()
            gate.set()
            await draining
            sends.wake()
            await sends.rest()
            return kept

    states = [each.state for each in on_loop(story()).deliveries]

    assert (states.count("delivered"), states.count("pending")) == (MOST_OF_A_WEBHOOK, 10 - MOST_OF_A_WEBHOOK)


def doomed() -> subprocess.Popen[bytes]:
    """Start a process of its own that sends what is due, and is killed before it settles."""
    name = connection.settings_dict["NAME"]
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    environment = {**os.environ, "DATABASE_URL": url, "WEBHOOK_ALLOW_PRIVATE": "1"}
    return subprocess.Popen([sys.executable, "-m", "tests.integration.invocation.webhooks.doomed"], env=environment)


def test_a_sender_killed_between_sending_and_settling_sends_again_under_the_same_id(on_loop: OnLoop[Any]) -> None:
    async def story() -> tuple[Kept, Receiver, int]:
        async with receiving() as receiver:
            kept: Kept = await off_loop(a_webhook, url=receiver.url, now=utc())
            await off_loop(end_jobs, kept)
            exitcode = await asyncio.to_thread(doomed().wait, 30)
            async with sender() as sends:
                sends.wake()
                await sends.rest()
                assert len(receiver.heard) == 1, "its lease has not ended"
                await off_loop(Delivery.objects.update, taken_until=utc())
                sends.wake()
                await sends.rest()
            return kept, receiver, exitcode

    kept, receiver, exitcode = on_loop(story())
    (delivery,) = kept.deliveries

    assert exitcode == -signal.SIGKILL
    assert [heard.id for heard in receiver.heard] == [str(delivery.pk)] * 2
    assert (delivery.state, [each.number for each in delivery.log.all()]) == ("delivered", [2])


def test_the_tick_sends_from_this_processs_loop(on_loop: OnLoop[Any]) -> None:
    sending.sender.cache_clear()

    async def story() -> Kept:
        async with receiving() as receiver:
            kept: Kept = await off_loop(a_webhook, url=receiver.url, now=utc())
            await off_loop(end_jobs, kept)
            control.send_deliveries()
            await until(lambda: len(receiver.heard) == 1)
            control._drain_sender()
            return kept

    assert on_loop(story()).deliveries[0].state == "delivered"
    sending.sender.cache_clear()


def test_the_minutes_tick_tidies(on_loop: OnLoop[Any]) -> None:
    kept = a_webhook(now=utc())
    webhooks.rotate(kept.row.pk, now=utc() - timedelta(days=2))
    end_jobs(kept)
    webhooks.disable([kept.row.pk], reason=Disabled.ASKED, now=utc())
    old = a_webhook(now=utc())
    end_jobs(old)
    Delivery.objects.filter(webhook=old.row).update(state=DeliveryState.FAILED, ended_at=utc() - timedelta(days=31))
    control.tidy_deliveries()

    assert (kept.deliveries[0].state, kept.now.previous_secret, old.deliveries) == ("failed", "", [])


def test_a_job_that_ends_is_told_in_the_same_transaction_and_nothing_is_sent_in_it(on_loop: OnLoop[Any]) -> None:
    async def story() -> tuple[Kept, Receiver]:
        async with receiving() as receiver:
            kept: Kept = await off_loop(a_webhook, url=receiver.url, now=utc())
            await off_loop(ending, kept)
            assert receiver.connections == 0
            async with sender() as sends:
                sends.wake()
                await sends.rest()
            return kept, receiver

    def ending(kept: Kept) -> None:
        for is_taken_back in (False, True):
            job = a_job(tenant_id=kept.row.tenant_id)
            with transaction.atomic():
                endings.end(Move.CANCEL, [lifecycle.of(job.pk, reason="asked")], now=utc())
                transaction.set_rollback(is_taken_back)

    kept, receiver = on_loop(story())

    assert [heard.told["data"]["state"] for heard in receiver.heard] == [JobState.CANCELLED]
    assert DeliveryTry.objects.count() == len(kept.deliveries) == 1
