"""A fenced-out worker changes nothing: no state, result, journal, bill, run or event."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.domain.errors import ProviderDown, ProviderUnavailable
from agents.domain.steps import Step, StepKey
from agents.domain.waits import ForAnswers, ForMoment, Question
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence, JobState
from invocation.models import Job, Outbox, RunRecord
from invocation.services import attempts, claims, journals, parking, results
from invocation.services.attempts import Completion
from invocation.services.claims import Claim
from quota.models import LedgerEntry
from tests.integration.invocation.finishing import a_line, a_run, complete, fence_of
from tests.integration.invocation.rows import NOW, a_job, snapshot

pytestmark = pytest.mark.django_db
STEP = Step({"found": 1}, "f" * 16)


def record_step(fence: Fence, job: Job) -> None:
    journals.record_step(fence, StepKey("look", 1), STEP, [a_line(job)])


QUESTION = Question(key="k", sentence="?", schema={})
Write = Callable[[Fence, Job], None]
WRITES: dict[str, Write] = {
    "record a step": record_step,
    "complete": lambda fence, job: complete(fence, {"text": "done"}, a_run(job)),
    "retry": lambda fence, job: attempts.fail(fence, ProviderUnavailable("gone"), failures=0, tries=3, run=a_run(job)),
    "bury": lambda fence, job: attempts.fail(fence, ProviderUnavailable("gone"), failures=2, tries=3, run=a_run(job)),
    "put off": lambda fence, job: attempts.fail(fence, ProviderDown("gone"), failures=2, tries=3, run=a_run(job)),
    "ask": lambda fence, job: parking.park(fence, ForAnswers((QUESTION,)), [a_line(job)]),
    "wait": lambda fence, job: parking.park(fence, ForMoment(NOW), [a_line(job)]),
    "hand back": lambda fence, job: attempts.hand_back(fence, [a_line(job)]),
}
LEADS_TO = {
    "record a step": "working",
    "complete": "completed",
    "retry": "waiting",
    "bury": "failed",
    "put off": "waiting",
    "ask": "input_required",
    "wait": "waiting",
    "hand back": "queued",
}
STRANGERS: dict[str, Callable[[Fence], Fence]] = {
    "an earlier attempt": lambda fence: fence._replace(attempt=fence.attempt - 1),
    "a later attempt": lambda fence: fence._replace(attempt=fence.attempt + 1),
    "another process": lambda fence: fence._replace(owner=str(uuid4())),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_who_does_not_hold_the_job_writes_nothing(write: Write, stranger: Callable[[Fence], Fence]) -> None:
    job = a_job(JobState.WORKING, attempt=2)
    before = snapshot(job)
    with pytest.raises(StaleMove):
        write(stranger(fence_of(job)), job)

    assert snapshot(job) == before
    assert not RunRecord.objects.exists()
    assert not LedgerEntry.objects.exists()
    assert not Outbox.objects.exists()


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_who_does_not_hold_the_job_confirms_no_cancel_and_tells_no_progress(stranger: Callable[[Fence], Fence]) -> None:
    job = a_job(JobState.CANCELLING, attempt=2)
    before = snapshot(job)
    with pytest.raises(StaleMove):
        attempts.confirm_cancel(stranger(fence_of(job)), a_run(job))
    attempts.tell_progress(stranger(fence_of(job)), {"done": 1, "of": 2})

    assert snapshot(job) == before
    assert not RunRecord.objects.exists()


@pytest.mark.parametrize(("act", "state"), list(LEADS_TO.items()), ids=LEADS_TO)
def test_who_holds_the_job_writes(act: str, state: str) -> None:
    job = a_job(JobState.WORKING, attempt=2)
    WRITES[act](fence_of(job), job)
    job.refresh_from_db()

    assert job.state == state
    assert LedgerEntry.objects.count() == 1


def test_a_completed_job_has_its_result_its_run_and_its_evidence() -> None:
    job = a_job(JobState.WORKING)
    complete(fence_of(job), {"text": "done"}, a_run(job))

    assert Job.objects.get(pk=job.pk).result.output == {"text": "done"}
    assert RunRecord.objects.get(source_id=job.pk).attempt == 1
    assert Outbox.objects.get(run_id=job.pk).data["agent"] == "mangaassist@1"


def test_nobody_completes_a_job_twice() -> None:
    job = a_job(JobState.WORKING)
    complete(fence_of(job), {"text": "first"}, a_run(job))
    with pytest.raises(StaleMove):
        complete(fence_of(job), {"text": "second"}, a_run(job))

    assert Job.objects.get(pk=job.pk).result.output == {"text": "first"}
    assert LedgerEntry.objects.count() == 1


def test_a_step_is_recorded_once_and_paid_for_once() -> None:
    job = a_job(JobState.WORKING)
    record_step(fence_of(job), job)
    with pytest.raises(StaleMove):
        record_step(fence_of(job), job)

    assert (job.steps.count(), LedgerEntry.objects.count()) == (1, 1)
    assert Job.objects.get(pk=job.pk).spent_usd == Decimal("0.001")


def claims_of(job: Job, owner: UUID) -> list[Claim]:
    return [Claim(job.pk, job.attempt, owner)]


def test_a_message_that_comes_twice_is_taken_once() -> None:
    job = a_job(JobState.DISPATCHED)
    first, second = uuid4(), uuid4()
    taken = claims.claim(claims_of(job, first) + claims_of(job, second))
    again = claims.claim(claims_of(job, second))

    assert [each is not None for each in taken].count(True) == 1
    assert again == [None]
    job.refresh_from_db()
    assert job.attempt == 1


def test_a_message_of_an_earlier_attempt_takes_nothing() -> None:
    job = a_job(JobState.DISPATCHED, attempt=2)

    assert claims.claim([Claim(job.pk, 1, uuid4())]) == [None]


def test_a_new_attempt_gets_the_steps_of_the_earlier_ones() -> None:
    job = a_job(JobState.WORKING)
    journals.record_step(fence_of(job), StepKey("look", 1), STEP, [])
    attempts.hand_back(fence_of(job), [])
    Job.objects.filter(pk=job.pk).update(state=JobState.DISPATCHED)
    [claimed] = claims.claim([Claim(job.pk, 1, uuid4())])

    assert claimed is not None
    assert claimed.job.attempt == 2
    assert claimed.steps == {StepKey("look", 1): STEP}


def test_a_claim_tells_whose_end_changes_more_than_the_job_itself() -> None:
    parent = a_job(JobState.WORKING)
    plain, laned, child = (
        a_job(JobState.DISPATCHED),
        a_job(JobState.DISPATCHED, ordering_key="lane"),
        a_job(JobState.DISPATCHED, parent=parent),
    )

    found = claims.claim([each for job in (plain, laned, child) for each in claims_of(job, uuid4())])

    assert [each.job.is_bound for each in found if each] == [False, True, True]


def test_only_the_end_of_a_bound_job_locks_its_lane() -> None:
    ended = {is_bound: a_job(JobState.WORKING, ordering_key=f"lane {is_bound}") for is_bound in (False, True)}
    with CaptureQueriesContext(connection) as seen:
        for is_bound, job in ended.items():
            assert attempts.complete([Completion(fence_of(job), results.in_row(b"{}"), a_run(job), is_bound)]) == [True]

    locked = [query["sql"] for query in seen if "advisory" in query["sql"]]
    assert len(locked) == 1
    assert "lane True" in locked[0]
