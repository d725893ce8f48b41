"""Questions to people: several at once, answered one by one, each by its own schema; and time that runs out."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from agents.domain import registry
from agents.domain.errors import WaitUnavailable
from agents.domain.run import Run
from agents.domain.values import Request
from invocation.domain.errors import InputInvalid, NotWaiting
from invocation.models import Job, JobEvent
from invocation.services import jobs
from invocation.services.journals import LARGE
from invocation.services.no_waits import NoWaits
from invocation.services.runs import AttemptJournal, Silent
from quota.models import LedgerEntry
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import told
from tests.integration.invocation.waits.family import BEHAVIOUR, DONE, Family
from tests.integration.invocation.waits.playing import beside, gave, played, queued
from tests.unit.agents.acting import TERMS, SpokenModels

pytestmark = pytest.mark.django_db(transaction=True)
TWO = {"questions": {"ok": {"type": "boolean"}, "when": {"type": "string"}}}


ANSWERS = {"ok": True, "when": "soon"}


def later(**length: float) -> datetime:
    return datetime.now(UTC) + timedelta(**length)


def test_a_job_goes_on_once_all_its_questions_are_answered(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"step": "look"}, {"ask": TWO}))
    assert (job.state, sorted(job.questions or {}), job.owner) == ("input_required", ["ok", "when"], None)

    jobs.answer(job.pk, key="when", value="soon", now=datetime.now(UTC))
    job.refresh_from_db()
    assert (job.state, list(job.questions or {}), job.answers) == ("input_required", ["ok"], {"when": "soon"})
    jobs.answer(job.pk, key="ok", value=True, now=datetime.now(UTC))
    again = played(on_loop, job.pk)

    assert (again.state, again.attempt) == ("completed", 2)
    assert gave(again)[1] == {"ok": True, "when": "soon"}
    assert DONE["look"] == 1


@pytest.mark.parametrize("pages", [1, 2 * LARGE])
def test_what_a_step_found_is_the_same_words_to_the_model_after_a_replay(on_loop: OnLoop[Any], pages: int) -> None:
    job = played(on_loop, queued({"prompt": pages}, {"ask": TWO}))
    for key, value in ANSWERS.items():
        jobs.answer(job.pk, key=key, value=value, now=datetime.now(UTC))
    again = played(on_loop, job.pk)

    assert (again.state, again.attempt, again.error) == ("completed", 2, None)
    assert (DONE["look"], again.steps.exclude(value=None).count(), LedgerEntry.objects.count()) == (1, pages > LARGE, 1)


def test_question_and_each_answer_are_events(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": TWO}))
    jobs.answer(job.pk, key="when", value="soon", now=datetime.now(UTC))
    jobs.answer(job.pk, key="ok", value=True, now=datetime.now(UTC))

    assert [kind for _, kind in told(job)][3:] == [
        "job.input_required",
        "input.requested",
        "input.received",
        "input.received",
        "job.queued",
    ]
    requested = JobEvent.objects.get(job=job, type="input.requested").data["questions"]
    assert requested["ok"] == {"sentence": "ok?", "schema": {"type": "boolean"}}
    assert [event.data for event in JobEvent.objects.filter(job=job, type="input.received").order_by("seq")] == [
        {"keys": ["when"]},
        {"keys": ["ok"]},
    ]


def test_several_answers_are_kept_together_or_not_at_all(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": TWO}))
    with pytest.raises(InputInvalid) as refused:
        jobs.answer_all(job.pk, {"when": "soon", "ok": "yes"}, now=datetime.now(UTC))
    with pytest.raises(NotWaiting):
        jobs.answer_all(job.pk, {"when": "soon", "why": "so"}, now=datetime.now(UTC))
    job.refresh_from_db()
    assert (refused.value.facts["field"], job.answers) == ("/answers/ok", {})

    jobs.answer_all(job.pk, {"when": "soon", "ok": True}, now=datetime.now(UTC))
    assert Job.objects.get(pk=job.pk).state == "queued"


def test_a_question_is_answered_once(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": TWO}))
    jobs.answer(job.pk, key="when", value="soon", now=datetime.now(UTC))

    with pytest.raises(NotWaiting):
        jobs.answer(job.pk, key="when", value="never", now=datetime.now(UTC))
    assert Job.objects.get(pk=job.pk).answers == {"when": "soon"}


def test_two_people_who_answer_in_the_same_moment_are_both_heard(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": TWO}))
    people = [beside(partial(jobs.answer, job.pk, key=key, value=value, now=datetime.now(UTC))) for key, value in ANSWERS.items()]
    with transaction.atomic():
        Job.objects.select_for_update().get(pk=job.pk)
        for person in people:
            person.start()
        people[1].join(0.5)
    for person in people:
        person.join(10)

    job.refresh_from_db()
    assert (job.state, job.answers) == ("queued", ANSWERS)


def test_an_answer_that_cannot_be_stored_is_refused(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": TWO}))

    with pytest.raises(InputInvalid):
        jobs.answer(job.pk, key="when", value="a\ud800b", now=datetime.now(UTC))


def test_a_question_that_nobody_answers_in_time_is_the_agents_to_cope_with(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": {**TWO, "timeout_s": 2}}, {"step": "after"}, {"ask": {"questions": {"late": {}}}}))
    assert job.due_at is not None
    assert jobs.wake_due(now=job.due_at - timedelta(milliseconds=1)) == 0
    assert jobs.wake_due(now=job.due_at) == 1
    job.refresh_from_db()
    assert (job.state, job.reason, job.questions) == ("queued", "unanswered", None)
    with pytest.raises(NotWaiting):
        jobs.answer(job.pk, key="ok", value=True, now=later())

    time.sleep(max(0.0, (job_until(job) - datetime.now(UTC)).total_seconds()))
    on_its_own = played(on_loop, job.pk)
    assert (on_its_own.state, list(on_its_own.questions or {})) == ("input_required", ["late"])
    jobs.answer(job.pk, key="late", value=1, now=later())
    assert gave(played(on_loop, job.pk)) == ["late", 1, {"late": 1}]
    assert DONE["after"] == 1


def job_until(job: Job) -> datetime:
    return datetime.fromisoformat(str(job.steps.get(name="until:ask:ok").result))


def test_a_worker_whose_clock_is_behind_parks_again_until_the_same_moment(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": {**TWO, "timeout_s": 60}}))
    due = job.due_at
    jobs.wake_due(now=later(seconds=61))
    again = played(on_loop, job.pk)

    assert (again.state, again.due_at) == ("input_required", due)


@pytest.mark.parametrize(
    "act",
    [{"ask": TWO}, {"callback": {"key": "paid"}}, {"sleep": 1}, {"spawn": {"inputs": [{}]}}],
    ids=["ask", "callback", "sleep", "spawn"],
)
def test_an_endpoint_that_declares_no_wait_fails_a_run_that_waits(on_loop: OnLoop[Any], act: dict[str, Any]) -> None:
    job = played(on_loop, queued(act, endpoint="family-mute@1"))

    assert (job.state, (job.error or {})["code"]) == ("failed", "wait_unavailable")
    assert Job.objects.count() == 1
    with pytest.raises(WaitUnavailable, match=re.escape((job.error or {})["sentence"])):
        on_loop(refused_elsewhere(act))


async def refused_elsewhere(act: dict[str, Any]) -> None:
    """Wait in the same way where no mode can wait: the refusal is the same, so that it tells nothing of where one is."""
    run = Run(
        key="run",
        terms=TERMS,
        spec=registry.find("family", 1),
        journal=AttemptJournal(),
        models=SpokenModels(),
        watcher=Silent(),
        waits=NoWaits(),
    )
    await Family().plan(run, Request(input={"do": [act]}))


def test_other_arguments_on_resume_are_a_dead_letter_of_bad_code(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"step": "look"}, {"ask": {"questions": {"ok": {}}}}))
    jobs.answer(job.pk, key="ok", value=1, now=datetime.now(UTC))
    BEHAVIOUR["look"] = "another"
    again = played(on_loop, job.pk)

    assert (again.state, again.cause, (again.error or {})["code"]) == ("failed", "bad_code", "replay_diverged")
    assert DONE["another"] == 0
