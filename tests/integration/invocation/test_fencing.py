"""A fenced-out worker changes nothing: no state, result, journal, bill, run or event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from agents.domain.errors import ProviderUnavailable
from agents.domain.run import Question, Step, StepKey
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence, JobState
from invocation.models import Job, Outbox, RunRecord
from invocation.services import attempts
from invocation.services.attempts import Claim
from invocation.services.records import Finished
from quota.domain.classes import PriorityClass
from quota.domain.ledger import LedgerLine, ParentKind
from quota.models import LedgerEntry
from tests.integration.invocation.rows import TRACE, a_job, snapshot

pytestmark = pytest.mark.django_db
STEP = Step({"found": 1}, "f" * 16)


def a_line(job: Job) -> LedgerLine:
    return LedgerLine(
        tenant_id=job.tenant_id,
        endpoint=job.endpoint,
        mode=job.mode,
        priority_class=PriorityClass.P1,
        run_id=job.pk,
        parent_kind=ParentKind.JOB,
        parent_id=str(job.pk),
        provider="offline",
        model="gearbox-offline-standard",
        input_tokens=10,
        output_tokens=5,
        cached_tokens=0,
        cost_usd=Decimal("0.001"),
        estimated=False,
        at=datetime.now(UTC),
    )


def a_run(job: Job, *, outcome: str = "completed") -> Finished:
    return Finished(
        run_id=job.pk,
        source="job",
        source_id=job.pk,
        tenant_id=job.tenant_id,
        endpoint=job.endpoint,
        agent=job.agent,
        mode=job.mode,
        attempt=job.attempt,
        traceparent=TRACE,
        outcome=outcome,
        error_code="",
        waited=timedelta(),
        started_at=datetime.now(UTC),
        first_delta_ms=None,
        duration_ms=10,
        models_used=("gearbox-offline-standard",),
        input_tokens=10,
        output_tokens=5,
        cost_usd=Decimal("0.001"),
        lines=(a_line(job),),
        evidence={"input": {}, "facts": {}, "output": {}},
    )


def fence_of(job: Job) -> Fence:
    return Fence(str(job.pk), job.attempt, str(job.owner))


Write = Callable[[Fence, Job], None]
WRITES: dict[str, Write] = {
    "record a step": lambda fence, job: attempts.record_step(fence, StepKey("look", 1), STEP, [a_line(job)]),
    "complete": lambda fence, job: attempts.complete(fence, {"text": "done"}, a_run(job)),
    "retry": lambda fence, job: attempts.fail(fence, ProviderUnavailable("gone"), failures=0, tries=3, run=a_run(job)),
    "bury": lambda fence, job: attempts.fail(fence, ProviderUnavailable("gone"), failures=2, tries=3, run=a_run(job)),
    "park": lambda fence, job: attempts.park(fence, Question(key="k", sentence="?", schema={}), [a_line(job)]),
    "hand back": lambda fence, job: attempts.hand_back(fence, [a_line(job)]),
}
LEADS_TO = {
    "record a step": "working",
    "complete": "completed",
    "retry": "waiting",
    "bury": "failed",
    "park": "input_required",
    "hand back": "queued",
}
STRANGERS: dict[str, Callable[[Fence], Fence]] = {
    "an earlier attempt": lambda fence: replace(fence, attempt=fence.attempt - 1),
    "a later attempt": lambda fence: replace(fence, attempt=fence.attempt + 1),
    "another process": lambda fence: replace(fence, owner=str(uuid4())),
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
    attempts.complete(fence_of(job), {"text": "done"}, a_run(job))

    assert Job.objects.get(pk=job.pk).result.output == {"text": "done"}
    assert RunRecord.objects.get(source_id=job.pk).attempt == 1
    assert Outbox.objects.get(run_id=job.pk).data["agent"] == "mangaassist@1"


def test_nobody_completes_a_job_twice() -> None:
    job = a_job(JobState.WORKING)
    attempts.complete(fence_of(job), {"text": "first"}, a_run(job))
    with pytest.raises(StaleMove):
        attempts.complete(fence_of(job), {"text": "second"}, a_run(job))

    assert Job.objects.get(pk=job.pk).result.output == {"text": "first"}
    assert LedgerEntry.objects.count() == 1


def test_a_step_is_recorded_once_and_paid_for_once() -> None:
    job = a_job(JobState.WORKING)
    attempts.record_step(fence_of(job), StepKey("look", 1), STEP, [a_line(job)])
    with pytest.raises(StaleMove):
        attempts.record_step(fence_of(job), StepKey("look", 1), STEP, [a_line(job)])

    assert (job.steps.count(), LedgerEntry.objects.count()) == (1, 1)
    assert Job.objects.get(pk=job.pk).spent_usd == Decimal("0.001")


def claims_of(job: Job, owner: UUID) -> list[Claim]:
    return [Claim(job.pk, job.attempt, owner)]


def test_a_message_that_comes_twice_is_taken_once() -> None:
    job = a_job(JobState.DISPATCHED)
    first, second = uuid4(), uuid4()
    taken = attempts.claim(claims_of(job, first) + claims_of(job, second))
    again = attempts.claim(claims_of(job, second))

    assert [each is not None for each in taken].count(True) == 1
    assert again == [None]
    job.refresh_from_db()
    assert job.attempt == 1


def test_a_message_of_an_earlier_attempt_takes_nothing() -> None:
    job = a_job(JobState.DISPATCHED, attempt=2)

    assert attempts.claim([Claim(job.pk, 1, uuid4())]) == [None]


def test_a_new_attempt_gets_the_steps_of_the_earlier_ones() -> None:
    job = a_job(JobState.WORKING)
    attempts.record_step(fence_of(job), StepKey("look", 1), STEP, [])
    attempts.hand_back(fence_of(job), [])
    Job.objects.filter(pk=job.pk).update(state=JobState.DISPATCHED)
    [claimed] = attempts.claim([Claim(job.pk, 1, uuid4())])

    assert claimed is not None
    assert claimed.job.attempt == 2
    assert claimed.steps == {StepKey("look", 1): STEP}
