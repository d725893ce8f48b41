"""Callbacks from outside: one address, called once, whichever comes first, the call or the wait."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from agents.domain.waits import ForCallback
from invocation.domain.errors import NotFound
from invocation.domain.jobs import Fence, JobState
from invocation.gateways.database import off_loop
from invocation.models import Callback, Job, StepRecord
from invocation.services import callbacks, jobs, parking
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import a_job
from tests.integration.invocation.waits.family import DONE, GATES, HANDED_OUT
from tests.integration.invocation.waits.playing import beside, gave, played, queued
from tests.integration.invocation.workers import job_worker, wakes

pytestmark = pytest.mark.django_db(transaction=True)
PAID = {"callback": {"key": "paid"}}


def token() -> str:
    return HANDED_OUT[0].rpartition("/")[2]


def call(value: Any) -> None:
    callbacks.receive(token(), value, now=datetime.now(UTC))


def test_a_callback_ends_the_wait_with_what_it_brings(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued(PAID))
    assert (job.state, job.reason, job.awaiting, job.owner) == ("waiting", "callback", {"callback": "paid"}, None)

    call({"usd": 7})
    assert Job.objects.get(pk=job.pk).state == "queued"
    again = played(on_loop, job.pk)
    assert (again.state, again.attempt, gave(again)) == ("completed", 2, [{"usd": 7}])
    assert len(HANDED_OUT) == 1


def test_a_callback_that_comes_before_the_wait_is_not_missed(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"callback": {"key": "paid", "gate": "go"}})

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [job_id]))
            await until(lambda: bool(HANDED_OUT))
            await off_loop(call, 7)
            GATES["go"].set()
            await until(lambda: engine.in_flight == 0)

    on_loop(story())
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.attempt, gave(job)) == ("completed", 1, [7])


def test_a_callback_that_comes_while_the_run_parks_wakes_it_at_once(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has looked, found nothing and raised Parked; only then the call comes."""
    park = parking.park

    def called_first(*given: Any) -> None:
        call(7)
        park(*given)

    monkeypatch.setattr(parking, "park", called_first)
    job = played(on_loop, queued(PAID))
    assert (job.state, job.awaiting) == ("queued", None)
    monkeypatch.undo()
    assert gave(played(on_loop, job.pk)) == [7]


def test_a_call_waits_for_a_run_that_is_about_to_park(on_loop: OnLoop[Any]) -> None:
    """Parking holds the callback's row: a call in the middle of it waits, and then finds the job waiting."""
    job = played(on_loop, queued(PAID))
    Job.objects.filter(pk=job.pk).update(state="dispatched", awaiting=None, reason="")
    caller = beside(lambda: call(7))
    with transaction.atomic():
        Callback.objects.select_for_update().get(job=job)
        caller.start()
        caller.join(0.3)
        assert caller.is_alive()
        Job.objects.filter(pk=job.pk).update(state="waiting", awaiting={"callback": "paid"}, reason="callback")
    caller.join(10)

    assert Job.objects.get(pk=job.pk).state == "queued"


def test_a_run_that_parks_waits_for_a_call_that_is_about_to_be_kept() -> None:
    """The call found nobody waiting: the run sees it before it waits."""
    job = a_job(JobState.WORKING)
    fence = Fence(str(job.pk), job.attempt, str(job.owner))
    callbacks.open_callback(fence, "paid")
    parker = beside(lambda: parking.park(fence, ForCallback("paid"), []))
    with transaction.atomic():
        Callback.objects.select_for_update().get(job=job)
        parker.start()
        parker.join(0.3)
        Callback.objects.filter(job=job).update(came_at=datetime.now(UTC), value=7)
    parker.join(10)

    assert Job.objects.get(pk=job.pk).state == "queued"


def test_a_second_call_changes_nothing_and_answers_the_same(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued(PAID, {"ask": {"questions": {"ok": {}}}}))
    call("first")
    call("second")
    played(on_loop, job.pk)
    call("third")

    assert Callback.objects.get(job=job).value == "first"
    assert Job.objects.get(pk=job.pk).state == "input_required"


def test_of_two_calls_in_the_same_moment_the_first_value_stands(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued(PAID))
    second = beside(lambda: call("second"))
    with transaction.atomic():
        Callback.objects.select_for_update().get(job=job)
        second.start()
        second.join(0.3)
        Callback.objects.filter(job=job).update(came_at=datetime.now(UTC), value="first")
    second.join(10)

    assert Callback.objects.get(job=job).value == "first"


def test_an_unknown_token_is_refused_in_the_same_words() -> None:
    sentences = set()
    for guess in ("x", str(uuid4()), "a" * 5_000, "\0"):
        with pytest.raises(NotFound) as refused:
            callbacks.receive(guess, None, now=datetime.now(UTC))
        sentences.add((refused.value.detail, *refused.value.facts))
    assert len(sentences) == 1


def test_a_callback_that_does_not_come_in_time_is_the_agents_to_cope_with(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"callback": {"key": "paid", "timeout_s": 0.3}}))
    jobs.wake_due(now=datetime.now(UTC) + timedelta(seconds=1))
    assert Job.objects.get(pk=job.pk).state == "queued"

    time.sleep(0.4)
    again = played(on_loop, job.pk)
    assert (again.state, gave(again)) == ("completed", ["late"])


def test_no_token_is_kept_in_the_clear(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued(PAID))
    secret = token()

    assert secret not in str(list(StepRecord.objects.filter(job=job).values()))
    assert secret not in str(Callback.objects.filter(job=job).values())
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(job)::text FROM invocation_job AS job WHERE id = %s", [job.pk])
        assert secret not in cursor.fetchone()[0]


def test_a_replay_hands_out_the_same_address_after_the_installation_has_moved(on_loop: OnLoop[Any], settings: Any) -> None:
    job = played(on_loop, queued({"callback": {"key": "paid"}}))
    settings.PUBLIC_URL = "https://elsewhere.example.com"
    call(7)
    again = played(on_loop, job.pk)

    assert (again.state, gave(again)) == ("completed", [7])


def test_a_callback_of_a_job_that_has_ended_is_taken_and_changes_nothing(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued(PAID))
    jobs.cancel(job.pk, reason="not wanted", now=datetime.now(UTC))
    call(7)

    assert Job.objects.get(pk=job.pk).state == "cancelled"


def test_a_sleep_frees_the_slot_until_its_moment(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"sleep": 0.5}, {"step": "after"}))
    assert (job.state, job.reason, job.owner) == ("waiting", "time", None)
    assert job.due_at is not None
    assert jobs.wake_due(now=job.due_at - timedelta(milliseconds=1)) == 0

    time.sleep(0.6)
    assert jobs.wake_due(now=datetime.now(UTC)) == 1
    again = played(on_loop, job.pk)
    assert (again.state, again.attempt, DONE["after"]) == ("completed", 2, 1)
