"""Results: in the row, in the object store where they are large, refused where they are too large; no file is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from agents.domain.errors import OutputInvalid
from invocation.domain.errors import ResultDamaged, ResultExpired, StaleMove, StoreUnavailable
from invocation.domain.jobs import JobState, Move
from invocation.gateways import database, objects
from invocation.gateways.stores import LocalStore
from invocation.models import Job, Result, StoredResult
from invocation.selectors.results import delivered_output, output_of, result_of
from invocation.services import attempts, jobs, lifecycle, results
from invocation.services.submission import submit
from quota.models import LedgerEntry
from tests.integration.invocation.completing import complete, completion, fence_of
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import NOW, a_job, a_submission, a_tenant
from tests.integration.invocation.workers import job_worker, run

SMALL = "s"
LARGE = "x" * 70_000
LATER = timedelta(hours=2)


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


def files(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())


def stowed(job: Job) -> Path:
    """Let an attempt write its large output and die before it completes."""
    kept = results.stow(fence_of(job), job.tenant_id, results.written({"text": LARGE}))
    return Path(objects.store_of(job.tenant_id).at(kept.location))


def sweep() -> int:
    return results.remove_orphans(before=datetime.now(UTC) + LATER, most=100)


@pytest.mark.django_db
class TestPlaces:
    def test_a_small_output_stands_in_its_row(self, store: Path) -> None:
        job = a_job(JobState.WORKING)
        complete(job, text=SMALL)
        result = result_of(Job.objects.get(pk=job.pk))

        assert (result.output, result.location, result.size, result.sha256) == ({"text": SMALL}, "", 12, "")
        assert output_of(result) == {"text": SMALL}
        assert files(store) == []

    def test_a_large_output_lies_whole_in_the_tenants_part_of_the_store(self, store: Path) -> None:
        job = a_job(JobState.WORKING)
        complete(job, text=LARGE)
        result = result_of(Job.objects.get(pk=job.pk))

        assert (result.output, result.size) == (None, 70_011)
        assert files(store) == [f"{job.tenant_id}/results/{job.pk}/1.json"]
        assert output_of(result) == {"text": LARGE}

    def test_the_limit_itself_still_stands_in_the_row(self, settings: Any) -> None:
        settings.RESULT_INLINE_BYTES = 12

        assert not results.is_large(results.written({"text": SMALL}))
        assert results.is_large(results.written({"text": SMALL * 2}))

    def test_small_and_large_ones_complete_in_one_group(self, store: Path) -> None:
        small, large = a_job(JobState.WORKING), a_job(JobState.WORKING)
        group = [completion(small, {"text": SMALL}), completion(large, {"text": LARGE})]

        assert attempts.complete(group) == [True, True]
        assert [output_of(result_of(job))["text"] for job in (small, large)] == [SMALL, LARGE]

    def test_outputs_in_rows_cost_one_statement_whatever_their_number(self) -> None:
        kept = [(a_job(JobState.COMPLETED).pk, results.in_row(b"{}")) for _ in range(5)]
        with CaptureQueriesContext(connection) as told:
            results.keep(kept, now=NOW)

        assert Result.objects.count() == 5
        assert len(told) == 0  # the one statement goes past Django's cursor, and nothing else does go

    @pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
    def test_a_file_that_is_not_what_was_written_is_not_handed_out(self, harm: str) -> None:
        job = a_job(JobState.WORKING)
        complete(job, text=LARGE)
        result = result_of(Job.objects.get(pk=job.pk))
        path = Path(objects.store_of(job.tenant_id).at(result.location))
        whole = path.read_bytes()
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes(whole.replace(b"x", b"y", 1) if harm == "changed" else whole[:-5])

        with pytest.raises(ResultDamaged):
            output_of(result)

    def test_a_store_that_does_not_answer_says_nothing_of_the_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        job = a_job(JobState.WORKING)
        complete(job, text=LARGE)
        result = result_of(Job.objects.get(pk=job.pk))

        def silent(_store: LocalStore, path: str) -> bytes:
            raise OSError(path)

        with monkeypatch.context() as patched:
            patched.setattr(LocalStore, "read", silent)
            with pytest.raises(StoreUnavailable):
                delivered_output(result)
        assert delivered_output(result) == {"text": LARGE}

    def test_the_database_takes_no_result_that_is_nowhere_or_twice(self) -> None:
        for wrong in ({}, {"output": {}, "location": "there", "sha256": "f"}, {"location": "there"}):
            with pytest.raises(IntegrityError), transaction.atomic():
                Result.objects.create(job=a_job(JobState.COMPLETED), at=NOW, **wrong)


def test_a_number_that_no_json_here_holds_is_refused_before_it_is_kept() -> None:
    with pytest.raises(OutputInvalid, match="cannot be kept"):
        results.check_size({"number": 2**70})


@pytest.mark.django_db
class TestOrphans:
    def test_a_result_that_is_kept_keeps_its_file(self) -> None:
        job = a_job(JobState.WORKING)
        complete(job, text=LARGE)

        assert sweep() == 0
        assert output_of(result_of(Job.objects.get(pk=job.pk))) == {"text": LARGE}

    def test_the_file_of_an_attempt_that_was_fenced_out_is_swept(self, store: Path) -> None:
        job = a_job(JobState.WORKING)
        late = completion(job, {"text": LARGE})
        Job.objects.filter(pk=job.pk).update(attempt=2)

        assert attempts.complete([late]) == [False]
        assert (sweep(), files(store)) == (1, [])
        assert not StoredResult.objects.exists()

    def test_the_file_of_an_attempt_that_may_still_complete_is_left(self) -> None:
        job = a_job(JobState.WORKING)
        path = stowed(job)

        assert (sweep(), path.exists()) == (0, True)

    def test_the_file_of_a_job_that_ended_another_way_or_is_gone_is_swept(self, store: Path) -> None:
        cancelled, gone = a_job(JobState.WORKING), a_job(JobState.WORKING)
        stowed(cancelled), stowed(gone)
        lifecycle.move_one(Move.REQUEST_CANCEL, lifecycle.of(cancelled.pk, reason="x"), now=NOW)
        lifecycle.move_one(Move.CONFIRM_CANCEL, lifecycle.of(cancelled.pk), now=NOW)
        Job.objects.filter(pk=gone.pk).delete()

        assert (sweep(), files(store)) == (2, [])

    def test_a_file_that_was_noted_a_moment_ago_is_left_alone(self) -> None:
        job = a_job(JobState.WORKING)
        path = stowed(job)
        Job.objects.filter(pk=job.pk).update(attempt=2)

        assert results.remove_orphans(before=datetime.now(UTC) - LATER, most=100) == 0
        assert path.exists()

    def test_a_sweep_that_died_between_file_and_note_is_made_good_by_the_next(self, store: Path) -> None:
        job = a_job(JobState.WORKING)
        stowed(job).unlink()
        Job.objects.filter(pk=job.pk).delete()

        assert (sweep(), StoredResult.objects.count()) == (1, 0)

    def test_an_attempt_that_does_not_hold_the_job_writes_no_file(self, store: Path) -> None:
        job = a_job(JobState.WORKING)
        Job.objects.filter(pk=job.pk).update(owner=uuid4())

        with pytest.raises(StaleMove):
            stowed(job)
        assert files(store) == []

    def test_an_expired_result_leaves_no_file(self, store: Path) -> None:
        job = a_job(JobState.WORKING)
        complete(job, text=LARGE)
        results.drop([job.pk])

        with pytest.raises(ResultExpired):
            result_of(Job.objects.get(pk=job.pk))
        assert (sweep(), files(store)) == (1, [])


@pytest.mark.usefixtures("tried")
@pytest.mark.django_db(transaction=True)
class TestRuns:
    def test_a_run_with_a_large_output_completes_with_it(self, on_loop: OnLoop[Any], store: Path) -> None:
        job = played(on_loop, {"says": [LARGE]})

        assert output_of(result_of(job))["text"] == LARGE
        assert files(store) == [f"{job.tenant_id}/results/{job.pk}/1.json"]

    def test_a_store_that_is_away_puts_a_job_off_charged_to_nobody_and_it_completes_without_another_call(
        self, on_loop: OnLoop[Any], store: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "AWAY_EVERY_S", 0.01)
        (store / "away").write_text("no folder can be below a file")
        settings.OBJECT_STORE = str(store / "away")
        job = played(on_loop, {"says": [LARGE], "model": "What is new?"})
        assert (job.state, job.reason, job.failures, job.attempt) == ("waiting", "outcome_store_away", 0, 1)
        assert job.due_at is not None
        calls = LedgerEntry.objects.count()

        settings.OBJECT_STORE = str(store)
        assert jobs.wake_due(now=job.due_at) == 1
        again = played_again(on_loop, job.pk)
        assert (again.state, again.failures, again.attempt) == ("completed", 0, 2)
        assert output_of(result_of(again))["text"].startswith(LARGE[:10])
        assert LedgerEntry.objects.count() == calls > 0

    def test_a_run_with_an_output_that_is_too_large_fails_at_once_with_cause_and_remedy(self, on_loop: OnLoop[Any], settings: Any) -> None:
        settings.RESULT_MAX_BYTES = 80_000
        job = played(on_loop, {"says": [LARGE, LARGE]})

        assert (job.state, job.cause, job.failures, job.attempt) == ("failed", "bad_output", 1, 1)
        assert job.error is not None
        assert job.error["code"] == "output_too_large"
        assert not Result.objects.exists()


def played(on_loop: OnLoop[Any], given: dict[str, Any]) -> Job:
    return played_again(on_loop, submit(a_submission(a_tenant(), endpoint="trial-job@1", given=given), now=datetime.now(UTC)).job_id)


def played_again(on_loop: OnLoop[Any], job_id: UUID) -> Job:
    async def story() -> None:
        async with job_worker() as engine:
            await run(engine, job_id)

    on_loop(story())
    return Job.objects.get(pk=job_id)
