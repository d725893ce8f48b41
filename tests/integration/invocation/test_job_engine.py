"""Jobs on a worker's loop: run, retried, parked and resumed by replay, cancelled, drained; each ends once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import OperationalError
from psycopg import errors as postgres_errors

from agents.domain.errors import ProviderUnavailable
from agents.models import Title
from invocation.domain import modes
from invocation.domain.errors import InputInvalid, NotWaiting
from invocation.domain.jobs import ASK_AGAIN, BROKE, JobState
from invocation.domain.modes import Mode
from invocation.gateways import hints
from invocation.gateways.database import is_away, off_loop
from invocation.gateways.presence import own_connection
from invocation.models import Job, JobEvent, RunRecord
from invocation.services import attempts, claims, jobs, results
from invocation.services.attempts import MOST_UNDECLARED, UNDECLARED
from invocation.services.bills import Bill
from invocation.services.submission import submit
from quota.models import LedgerEntry
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import a_submission, a_tenant, told
from tests.integration.invocation.trial import DONE, FACTS, GATES
from tests.integration.invocation.webhooks.rows import a_webhook
from tests.integration.invocation.workers import job_worker, run, state_of, wakes

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def queued(given: Mapping[str, Any], *, endpoint: str = "trial-job@1") -> UUID:
    return submit(a_submission(a_tenant(), endpoint=endpoint, given=given), now=datetime.now(UTC)).job_id


def played(on_loop: OnLoop[Any], job_id: UUID) -> Job:
    """Run the job on a worker of its own until the worker has nothing to do."""

    async def story() -> None:
        async with job_worker() as engine:
            await run(engine, job_id)

    on_loop(story())
    return Job.objects.get(pk=job_id)


def due(job: Job) -> datetime:
    assert job.due_at is not None
    return job.due_at


def fault(job: Job) -> Mapping[str, Any]:
    assert job.error is not None
    return dict(job.error)


def test_a_job_runs_to_its_result(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"steps": ["look", "look"], "says": ["a", "b"], "progress": "half"}))

    assert (job.state, job.attempt, job.owner) == ("completed", 1, None)
    assert job.result.output == {"text": "ab", "counted": [1, 2], "answer": None, "history": []}
    assert [kind for _, kind in told(job)] == ["job.queued", "job.dispatched", "job.working", "progress", "job.completed"]
    assert job.progress == {"done": 1, "of": 2, "note": "half"}
    assert [(step.name, step.occurrence) for step in job.steps.order_by("pk")] == [("look", 1), ("look", 2)]
    assert RunRecord.objects.get(source_id=job.pk).outcome == "completed"


def test_a_model_call_is_journaled_and_paid_for_once(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"model": "What is new?", "fails_late": "provider"}))
    spent = job.spent_usd
    assert (job.state, spent > 0, LedgerEntry.objects.count()) == ("waiting", True, 1)

    jobs.wake_due(now=due(job))
    again = played(on_loop, job.pk)
    assert (again.attempt, again.spent_usd, LedgerEntry.objects.count()) == (2, spent, 1)


def test_a_curable_error_is_tried_again_later_and_at_last_buried(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"fails": "provider"})
    for failures in (1, 2):
        job = played(on_loop, job_id)
        assert (job.state, job.failures, job.reason, fault(job)["code"]) == ("waiting", failures, "retry", ProviderUnavailable.code)
        assert jobs.wake_due(now=due(job)) == 1
    job = played(on_loop, job_id)

    assert (job.state, job.failures, job.cause, job.attempt) == ("failed", 3, "provider", 3)
    assert RunRecord.objects.filter(source_id=job_id).count() == 3


@pytest.mark.parametrize(
    ("given", "code", "cause"),
    [
        ({"fails": "decline"}, "declined", "bad_input"),
        ({"fails": "crash"}, "agent_crashed", "bad_code"),
        ({"adds": {"extra": 1}}, "output_invalid", "bad_output"),
    ],
)
def test_what_trying_again_cannot_cure_is_buried_at_once(on_loop: OnLoop[Any], given: Mapping[str, Any], code: str, cause: str) -> None:
    job = played(on_loop, queued(given))

    assert (job.state, job.failures, fault(job)["code"], job.cause) == ("failed", 1, code, cause)


def test_what_a_crash_says_is_for_operators_and_nothing_that_is_told_of_the_job_holds_it(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"fails": "crash"}))

    assert (fault(job)["sentence"], fault(job)["remedy"], "broke" in fault(job)) == (BROKE, ASK_AGAIN, False)
    assert "the trial crashed" not in str(list(JobEvent.objects.filter(job_id=job.pk).values_list("data", flat=True)))
    assert job.broke.startswith("RuntimeError: the trial crashed")


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_an_output_that_cannot_be_stored_is_a_bad_output(on_loop: OnLoop[Any], text: str) -> None:
    from invocation.gateways import declared
    from invocation.services.runs import _check_output

    with pytest.raises(Exception, match="output/text") as refused:
        _check_output(declared.book().find("trial-job@1"), {"text": text})

    assert getattr(refused.value, "code", "") == "output_invalid"


def test_a_parked_job_frees_its_slot_and_resumes_by_replay(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"steps": ["look"], "ask": True}))
    assert (job.state, job.owner, list(job.questions or {})) == ("input_required", None, ["agreed"])

    jobs.answer(job.pk, key="agreed", value={"yes": True}, now=datetime.now(UTC))
    again = played(on_loop, job.pk)

    assert (again.state, again.attempt, again.failures, again.losses) == ("completed", 2, 0, 0)
    assert (again.result.output or {})["answer"] == {"yes": True}
    assert (again.result.output or {})["counted"] == [1]
    assert DONE["look"] == 1


def test_an_answer_must_fit_what_is_asked(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": True}))
    with pytest.raises(InputInvalid) as refused:
        jobs.answer(job.pk, key="agreed", value={"yes": "perhaps"}, now=datetime.now(UTC))
    with pytest.raises(NotWaiting):
        jobs.answer(job.pk, key="other", value={"yes": True}, now=datetime.now(UTC))

    assert refused.value.facts["field"] == "/value/yes"
    assert Job.objects.get(pk=job.pk).state == "input_required"
    jobs.answer(job.pk, key="agreed", value={"yes": True}, now=datetime.now(UTC))
    with pytest.raises(NotWaiting):
        jobs.answer(job.pk, key="agreed", value={"yes": False}, now=datetime.now(UTC))


def test_an_endpoint_that_may_not_wait_fails_a_run_that_asks(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"ask": True}, endpoint="trial-mute@1"))

    assert (job.state, fault(job)["code"]) == ("failed", "wait_unavailable")


def test_a_message_that_comes_twice_runs_once(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"says": ["once"]})

    async def story() -> None:
        async with job_worker() as engine:
            message = await off_loop(wakes, [job_id])
            engine.accept(message * 3)
            await until(lambda: engine.in_flight == 0)

    on_loop(story())
    assert DONE["runs"] == 1
    assert RunRecord.objects.filter(source_id=job_id).count() == 1


def test_a_running_job_that_is_cancelled_is_stopped_and_confirmed(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"steps": ["look"], "wait": "never"})

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [job_id]))
            await until(lambda: DONE["look"] == 1)
            await off_loop(jobs.cancel, job_id, reason="not wanted", now=datetime.now(UTC))
            assert await state_of(job_id) is JobState.CANCELLING
            engine.stop([str(job_id)])
            await until(lambda: engine.in_flight == 0)

    on_loop(story())
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.reason, job.owner) == ("cancelled", "not wanted", None)
    assert RunRecord.objects.get(source_id=job_id).outcome == "cancelled"


def test_a_cancel_that_the_worker_has_not_heard_wins_over_the_result(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"model": "What is new?", "wait": "word"})

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [job_id]))
            await until(lambda: DONE["runs"] == 1)
            await off_loop(jobs.cancel, job_id, reason="not wanted", now=datetime.now(UTC))
            GATES["word"].set()
            await until(lambda: engine.in_flight == 0)

    on_loop(story())
    job = Job.objects.get(pk=job_id)
    assert (job.state, hasattr(job, "result")) == ("cancelled", False)
    assert LedgerEntry.objects.filter(run_id=job_id).count() == 1


def test_a_drain_hands_back_what_cannot_finish_and_charges_nobody(on_loop: OnLoop[Any]) -> None:
    quick, slow = queued({"steps": ["look"], "wait": "soon"}), queued({"steps": ["look"], "wait": "never"})

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [quick, slow]))
            await until(lambda: DONE["look"] == 2)
            GATES["soon"].set()
            await engine.drain(timedelta(seconds=0.5))

    on_loop(story())
    assert Job.objects.get(pk=quick).state == "completed"
    job = Job.objects.get(pk=slow)
    assert (job.state, job.reason, job.failures, job.losses, job.owner) == ("queued", "drained", 0, 0, None)


def test_a_drain_bills_the_call_that_it_cut_short(on_loop: OnLoop[Any], settings: Any) -> None:
    settings.OFFLINE_FIRST_TOKEN_MS, settings.OFFLINE_TOKEN_MS = 1, 500
    job_id = queued({"model": "Tell me everything about the new titles."})

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [job_id]))
            await until(lambda: DONE["runs"] == 1)
            await engine.drain(timedelta(seconds=1.2))

    on_loop(story())
    assert Job.objects.get(pk=job_id).reason == "drained"
    line = LedgerEntry.objects.get(run_id=job_id)
    assert line.estimated
    assert Job.objects.get(pk=job_id).spent_usd == line.cost_usd > Decimal(0)


def test_a_drain_does_not_lose_what_it_is_about_to_claim(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"wait": "never"})

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [job_id]))
            await engine.drain(timedelta())

    on_loop(story())
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.owner, job.losses) == ("queued", None, 0)


def test_what_a_process_holds_and_does_not_run_is_given_back(on_loop: OnLoop[Any]) -> None:
    owner = uuid4()
    broken, stopping, running = (queued({}) for _ in range(3))
    for job_id in (broken, stopping, running):
        [wake] = wakes([job_id])
        claims.claim([claims.Claim(*wake, owner)])
    jobs.cancel(stopping, reason="not wanted", now=datetime.now(UTC))
    fences = [fence for fence in attempts.held_by(owner) if fence.job_id != str(running)]

    assert attempts.return_broken_off(fences) == 2
    assert attempts.return_broken_off(fences) == 0
    states = [Job.objects.get(pk=job_id).state for job_id in (broken, stopping, running)]
    assert states == ["queued", "cancelled", "working"]
    assert Job.objects.get(pk=broken).losses == 0


@pytest.fixture
def ceiling_of_200_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    brief = replace(modes.policy(Mode.ASYNC_QUEUE), ceiling=timedelta(milliseconds=200))
    monkeypatch.setattr(modes, "POLICIES", {**modes.POLICIES, Mode.ASYNC_QUEUE: brief})


@pytest.mark.usefixtures("ceiling_of_200_ms")
def test_a_run_that_hangs_is_ended_at_its_modes_ceiling_and_fails_like_any_other(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"steps": ["look"], "wait": "never"})
    job = played(on_loop, job_id)
    assert (job.state, job.failures, fault(job)["code"]) == ("waiting", 1, "run_timed_out")

    for _ in range(2):
        GATES.clear()
        jobs.wake_due(now=due(job))
        job = played(on_loop, job_id)
    assert (job.state, job.failures, job.cause, DONE["look"]) == ("failed", 3, "bad_code", 1)


@pytest.mark.usefixtures("ceiling_of_200_ms")
def test_a_drain_of_a_run_that_hangs_is_no_failure_of_it(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"wait": "never"})

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [job_id]))
            await until(lambda: DONE["runs"] == 1)
            await engine.drain(timedelta())

    on_loop(story())
    assert (Job.objects.get(pk=job_id).reason, Job.objects.get(pk=job_id).failures) == ("drained", 0)


def test_a_timeout_of_the_agents_own_is_a_fault_of_its_code(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"fails": "time"}))

    assert (job.state, fault(job)["code"]) == ("failed", "agent_crashed")


def test_a_job_that_spent_its_budget_fails_before_the_next_call(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"model": "What is new?"})
    Job.objects.filter(pk=job_id).update(cost_cap_usd=Decimal("0.000001"))
    job = played(on_loop, job_id)

    assert (job.state, fault(job)["code"], job.cause) == ("failed", "budget_exceeded", "budget")
    assert not LedgerEntry.objects.exists()


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (postgres_errors.AdminShutdown("ended"), True),
        (postgres_errors.OperationalError("the connection is lost"), True),
        (postgres_errors.QueryCanceled("statement timeout"), False),
        (postgres_errors.UniqueViolation("twice"), False),
        (ValueError("no"), False),
    ],
)
def test_a_lost_database_is_told_from_a_refused_statement(error: Exception, *, away: bool) -> None:
    wrapped = OperationalError(str(error))
    wrapped.__cause__ = error

    assert is_away(error) is is_away(wrapped) is away


def test_a_run_that_lost_the_database_is_charged_to_nobody(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"steps": ["look"], "fails_once": "database"})
    job = played(on_loop, job_id)
    assert (job.state, job.failures, job.losses) == ("queued", 0, 0)

    again = played(on_loop, job_id)
    assert (again.state, again.attempt, (again.result.output or {})["counted"]) == ("completed", 2, [1])


def test_who_wants_to_know_is_told_that_a_person_is_asked(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"ask": True})
    webhook = a_webhook(Job.objects.get(pk=job_id).tenant_id)
    played(on_loop, job_id)

    assert [(each.job_id, each.type) for each in webhook.deliveries] == [(job_id, "job.input_required")]


def waited(job_id: UUID, times: int) -> None:
    """Write into its history that it met nobody who knew it, from its second event on."""
    rest = {"type": "job.waiting", "at": datetime.now(UTC), "data": {"move": "wait", "reason": UNDECLARED}}
    JobEvent.objects.bulk_create(JobEvent(job_id=job_id, seq=seq, **rest) for seq in range(2, times + 2))


@pytest.mark.parametrize("attempt", [0, MOST_UNDECLARED + 10])
def test_a_job_that_came_further_meanwhile_is_no_dead_letter_at_its_next_meeting(on_loop: OnLoop[Any], attempt: int) -> None:
    job_id = queued({})
    Job.objects.filter(pk=job_id).update(endpoint="coming@1", attempt=attempt, event_seq=MOST_UNDECLARED + 2)
    waited(job_id, MOST_UNDECLARED)
    retry = {"move": "retry", "reason": "retry"}
    JobEvent.objects.create(job_id=job_id, seq=MOST_UNDECLARED + 2, type="job.waiting", at=datetime.now(UTC), data=retry)
    job = played(on_loop, job_id)

    assert (job.state, job.reason, job.failures) == ("waiting", "undeclared", 0)


def test_a_job_whose_endpoint_is_gone_is_a_dead_letter(on_loop: OnLoop[Any]) -> None:
    job_id = queued({})
    Job.objects.filter(pk=job_id).update(endpoint="bygone@1", event_seq=MOST_UNDECLARED + 1)
    waited(job_id, MOST_UNDECLARED)
    job = played(on_loop, job_id)

    assert (job.state, job.cause, fault(job)["code"], job.failures) == ("failed", "bad_code", "endpoint_undeclared", 1)


UNKEEPABLE: list[Any] = [{"text": "a\0b"}, {"big": 10**30}, {"half": "\ud800"}]


@pytest.mark.parametrize("facts", UNKEEPABLE, ids=["nul", "big", "surrogate"])
def test_facts_that_no_judge_can_be_told_cost_no_run_and_no_neighbour(on_loop: OnLoop[Any], facts: Any) -> None:
    DONE.clear()
    strange, plain = queued({"facts": True}), queued({})
    FACTS.update(facts)

    async def story() -> None:
        async with job_worker() as engine:
            await run(engine, strange, plain)

    try:
        on_loop(story())
    finally:
        FACTS.clear()
    assert set(Job.objects.values_list("state", "failures")) == {("completed", 0)}


def test_an_error_that_quotes_what_cannot_be_kept_is_kept_all_the_same(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued({"fails": "nul"}))

    assert (job.state, fault(job)["code"]) == ("waiting" if job.state == "waiting" else "failed", "agent_crashed")
    assert "\ufffd" in job.broke


def test_a_job_whose_endpoint_is_not_declared_here_is_put_off_and_charged_to_nobody(on_loop: OnLoop[Any]) -> None:
    job_id = queued({})
    Job.objects.filter(pk=job_id).update(endpoint="coming@1")
    job = played(on_loop, job_id)

    assert (job.state, job.reason, job.failures) == ("waiting", "undeclared", 0)


def test_a_job_whose_version_of_the_agent_is_not_known_here_is_put_off_and_charged_to_nobody(on_loop: OnLoop[Any]) -> None:
    job_id = queued({})
    Job.objects.filter(pk=job_id).update(agent="trial@99")
    job = played(on_loop, job_id)

    assert (job.state, job.reason, job.failures) == ("waiting", "undeclared", 0)


def test_a_job_that_lost_a_worker_stays_alone_where_nobody_knew_its_agent(on_loop: OnLoop[Any]) -> None:
    job_id = queued({})
    Job.objects.filter(pk=job_id).update(agent="trial@99", is_alone=True)

    assert played(on_loop, job_id).is_alone


def test_lines_that_could_not_be_booked_stay_on_the_bill() -> None:
    bill, line = Bill(), object()
    bill._open.append(line)  # type: ignore[arg-type]
    taken = bill.take()
    bill.put_back(taken)

    assert bill.take() == [line]
    assert bill.take() == []


def test_a_job_whose_claim_waits_is_held_and_a_drain_waits_for_it(on_loop: OnLoop[Any]) -> None:
    job_id, seen = queued({"says": ["late"]}), []

    async def story() -> None:
        async with job_worker() as engine:
            message = await off_loop(wakes, [job_id])
            with own_connection() as other, other.transaction():
                other.execute("SELECT FROM invocation_job WHERE id = %s FOR UPDATE", [job_id])
                engine.accept(message)
                draining = asyncio.create_task(engine.drain(timedelta(seconds=30)))
                await until(lambda: other.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is not None)
                seen.append((engine.running, engine.in_flight, draining.done()))
            await draining

    on_loop(story())
    assert seen == [(frozenset({str(job_id)}), 1, False)]
    assert Job.objects.get(pk=job_id).state == "completed"


def test_a_claim_that_breaks_holds_no_slot(on_loop: OnLoop[Any]) -> None:
    job_id, unclaimable = queued({"says": ["after"]}), [(uuid4(), 2**40)]

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(unclaimable)
            assert engine.in_flight == 1
            await until(lambda: engine.in_flight == 0)
            await run(engine, job_id)

    on_loop(story())
    assert Job.objects.get(pk=job_id).state == "completed"


def test_a_completion_tells_the_dispatcher_that_a_slot_is_free(on_loop: OnLoop[Any]) -> None:
    job_id = queued({"says": ["done"]})
    with own_connection() as session:
        session.execute(f"LISTEN {hints.CHANNEL}")
        played(on_loop, job_id)

        assert "p1" in (word.payload for word in session.notifies(timeout=20.0))


def test_mangaassist_completes_at_the_second_attempt_without_another_call_of_the_model(
    on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("load_catalog", stdout=StringIO())
    job_id = queued({"text": "Tell me of it.", "title": Title.objects.values_list("slug", flat=True)[0]}, endpoint="personalize@1")
    with monkeypatch.context() as patched:
        patched.setattr(results, "is_large", _lost)
        lost = played(on_loop, job_id)
    assert (lost.state, lost.steps.filter(name="model").count(), LedgerEntry.objects.count()) == ("queued", 1, 1)
    again = played(on_loop, job_id)

    assert (again.state, again.attempt, again.error, LedgerEntry.objects.count()) == ("completed", 2, None, 1)


def _lost(_content: bytes) -> bool:
    raise OperationalError("gone") from postgres_errors.AdminShutdown("going")
