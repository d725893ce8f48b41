"""Retention: results, journals, runs and jobs go when their time is over, with their files, and nothing goes before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.domain.steps import Step, StepKey
from invocation.domain.ids import id_at
from invocation.domain.jobs import TERMINAL, JobState
from invocation.models import ContextRecord, Discard, Firing, Job, Outbox, Result, RunRecord, Schedule, StepRecord, StepValue, StoredResult
from invocation.selectors.results import output_of
from invocation.services import contexts, journals, retention
from tests.integration.invocation.completing import complete, fence_of
from tests.integration.invocation.rows import TRACE, a_job

pytestmark = pytest.mark.django_db
LARGE = "x" * 70_000


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def swept(days: float, **terms: Any) -> dict[str, int]:
    """Sweep as if so many days had passed, and return what went."""
    return {name: count for name, count in retention.sweep(now=in_days(days), **terms).items() if count}


def completed(text: str = "done", **columns: Any) -> Job:
    """A job that ends now, with a step, a result, a run and news in the outbox."""
    job = a_job(JobState.WORKING, **columns)
    journals.record_step(fence_of(job), StepKey("look", 1), Step({"pages": ["word " * 10_000]}, "f" * 16), [])
    complete(job, text=text)
    return Job.objects.get(pk=job.pk)


def ended(state: JobState, **columns: Any) -> Job:
    return a_job(state, finished_at=datetime.now(UTC), **columns)


def files(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file()]


def test_nothing_goes_before_its_time(store: Path) -> None:
    job = completed(LARGE)

    assert swept(6.9) == {}
    assert output_of(job.result) == {"text": LARGE}
    assert job.steps.count() == 1


def test_a_journal_goes_after_a_week_with_its_values_and_the_result_stays() -> None:
    job = completed()

    assert swept(7.1) == {"journals": 1, "outbox": 1}
    assert (StepRecord.objects.count(), StepValue.objects.count(), Outbox.objects.count()) == (0, 0, 0)
    assert Result.objects.get(job=job).output == {"text": "done"}


def test_the_journal_of_a_job_that_has_not_ended_is_kept_however_old() -> None:
    job = a_job(JobState.WORKING)
    journals.record_step(fence_of(job), StepKey("look", 1), Step(1, "f" * 16), [])

    assert swept(400) == {}
    assert job.steps.count() == 1


def test_the_journals_that_may_go_are_looked_for_among_the_steps_alone() -> None:
    """Among the jobs it would be a look at all that ended since the last of them went, most of which have no journal any more."""
    completed()
    with CaptureQueriesContext(connection) as said:
        assert swept(7.1)["journals"] == 1
    pages = [each["sql"] for each in said if "LIMIT" in each["sql"] and "invocation_steprecord" in each["sql"]]

    assert pages
    assert not [page for page in pages if '"invocation_job"' in page]


def test_a_result_goes_after_thirty_days_with_its_file(store: Path) -> None:
    job = completed(LARGE)

    assert swept(29.9) == {"journals": 1, "outbox": 1}
    assert len(files(store)) == 1
    assert swept(30.1) == {"results": 1, "files": 1}
    assert files(store) == []
    assert not StoredResult.objects.exists()
    assert Job.objects.filter(pk=job.pk).exists()


def test_the_age_of_a_result_counts_from_the_end_not_from_the_submission() -> None:
    job = a_job(JobState.COMPLETED, id=UUID(int=id_at(in_days(-60)).int + 7))
    Result.objects.create(job=job, output={}, at=datetime.now(UTC))

    assert "results" not in swept(1)
    assert "results" in swept(31)


@pytest.mark.parametrize("state", sorted({*TERMINAL} - {JobState.FAILED}))
def test_an_ended_job_goes_after_ninety_days_with_all_that_it_has(state: JobState, store: Path) -> None:
    job = completed(LARGE) if state is JobState.COMPLETED else ended(state)

    swept(89.9)
    assert Job.objects.filter(pk=job.pk).exists()
    assert swept(90.1)["jobs"] == 1
    assert not Job.objects.exists()
    assert files(store) == []


@pytest.mark.parametrize("state", sorted({*JobState} - TERMINAL))
def test_a_job_that_has_not_ended_never_goes(state: JobState) -> None:
    job = a_job(state)

    assert swept(1000) == {}
    assert Job.objects.filter(pk=job.pk).exists()


def test_an_open_dead_letter_stays_until_somebody_decided_about_it() -> None:
    left = ended(JobState.FAILED)
    redriven, discarded = ended(JobState.FAILED), ended(JobState.FAILED)
    again = a_job(redrive_of=redriven)
    Discard.objects.create(job=discarded, reason="no use", by="ops", at=datetime.now(UTC))

    assert swept(91) == {"jobs": 2}
    assert set(Job.objects.values_list("pk", flat=True)) == {left.pk, again.pk}
    assert Job.objects.get(pk=again.pk).redrive_of is None


def test_a_failed_job_that_is_no_dead_letter_goes() -> None:
    ended(JobState.FAILED, mode="scheduled-trigger", endpoint="trial-cycle@1")

    assert swept(91) == {"jobs": 1}


def test_a_parent_goes_before_its_child_and_the_child_is_bound_to_nobody_then() -> None:
    parent = ended(JobState.COMPLETED)
    child = ended(JobState.FAILED, parent=parent, root_id=parent.pk, depth=1, child_key="spawn/0")

    assert swept(91) == {"jobs": 1}
    assert Job.objects.get().pk == child.pk
    assert Job.objects.get().parent is None


def test_a_child_stays_as_long_as_its_parent_has_not_ended() -> None:
    parent = a_job(JobState.WAITING)
    ended(JobState.COMPLETED, parent=parent, root_id=parent.pk, depth=1, child_key="spawn/0")

    assert swept(91) == {}


def test_a_childs_result_stays_as_long_as_its_parent_has_not_ended() -> None:
    parent = a_job(JobState.WAITING)
    child = completed(parent=parent, root_id=parent.pk, depth=1, child_key="spawn/0")
    assert "results" not in swept(31)
    assert output_of(child.result) == {"text": "done"}

    Job.objects.filter(pk=parent.pk).update(state=JobState.COMPLETED, finished_at=datetime.now(UTC), due_at=None)
    assert swept(31) == {"results": 1}


def test_a_firing_goes_with_its_job() -> None:
    job = ended(JobState.COMPLETED)
    now = datetime.now(UTC)
    terms = {"endpoint": "trial-cycle@1", "cron": "0 9 * * *", "timezone": "UTC", "input": {}, "created_at": now, "next_fire_at": now}
    schedule = Schedule.objects.create(tenant_id=job.tenant_id, name="daily", **terms)
    Firing.objects.create(schedule=schedule, due_at=now, fired_at=now, job=job, state="completed", finished_at=now)

    assert swept(91) == {"jobs": 1}
    assert not Firing.objects.exists()
    assert Schedule.objects.exists()


def test_runs_go_after_ninety_days() -> None:
    now = datetime.now(UTC)
    columns = {"endpoint": "chat@1", "agent": "mangaassist@1", "mode": "streaming-sync", "traceparent": TRACE, "source": "turn"}
    RunRecord.objects.create(
        tenant_id=uuid4(),
        source_id=uuid4(),
        attempt=1,
        outcome="completed",
        started_at=now,
        finished_at=now,
        waited_ms=0,
        duration_ms=1,
        **columns,
    )

    assert swept(89) == {}
    assert swept(91) == {"runs": 1}


def test_a_context_goes_when_nobody_touched_it_for_as_long_as_a_job_is_kept() -> None:
    contexts.bump(uuid4(), "old", now=in_days(-80))
    contexts.bump(uuid4(), "new", now=in_days(-70))

    assert swept(15) == {"contexts": 1}
    assert ContextRecord.objects.get().key == "new"


def test_a_sweep_takes_all_pages_and_passes_over_what_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    for number in range(9):
        ended(JobState.FAILED if number % 3 == 0 else JobState.COMPLETED)

    assert swept(91) == {"jobs": 6}
    assert set(Job.objects.values_list("state", flat=True)) == {"failed"}


def test_a_sweep_without_time_takes_a_page_of_each_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    for _ in range(5):
        ended(JobState.COMPLETED)

    assert [swept(91, within=timedelta())["jobs"] for _ in range(3)] == [2, 2, 1]
    assert swept(91, within=timedelta()) == {}
