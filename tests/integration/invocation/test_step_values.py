"""Large results of steps: kept once for a tenant by their content, loaded on resume, gone with the last step that names them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, connections, transaction

from agents.domain.steps import Step, StepKey
from invocation.domain.jobs import JobState
from invocation.models import Job, StepRecord, StepValue
from invocation.selectors.jobs import step_result, steps_of
from invocation.services import journals
from tests.integration.invocation.completing import fence_of
from tests.integration.invocation.rows import a_job

DOCUMENT = {"pages": ["word " * 10_000]}
SMALL = {"page": "word"}


def keep(job: Job, name: str, result: Any) -> None:
    journals.record_step(fence_of(job), StepKey(name, 1), Step(result, "f" * 16), [])


def stored_bytes(tenant_id: UUID) -> int:
    """Return the bytes that the tenant's journals hold, steps and values, as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce((SELECT sum(octet_length(content::text)) FROM invocation_stepvalue WHERE tenant_id = %s), 0)"
            " + coalesce((SELECT sum(octet_length(result::text)) FROM invocation_steprecord JOIN invocation_job AS job ON job.id = job_id"
            " WHERE job.tenant_id = %s), 0)",
            [tenant_id, tenant_id],
        )
        return int(cursor.fetchone()[0])


@pytest.mark.django_db
class TestValues:
    def test_a_small_result_stands_in_its_step(self) -> None:
        job = a_job(JobState.WORKING)
        keep(job, "look", SMALL)

        assert (job.steps.get().result, StepValue.objects.count()) == (SMALL, 0)

    def test_a_document_that_twenty_steps_return_is_kept_once(self) -> None:
        job = a_job(JobState.WORKING)
        for number in range(20):
            keep(job, f"look {number}", DOCUMENT)
        one = len(str(DOCUMENT))

        assert StepValue.objects.count() == 1
        assert one <= stored_bytes(job.tenant_id) < 1.1 * one

    def test_jobs_of_a_tenant_share_a_value_and_tenants_do_not(self) -> None:
        first = a_job(JobState.WORKING)
        for job in (first, a_job(JobState.WORKING, tenant_id=first.tenant_id), a_job(JobState.WORKING)):
            keep(job, "look", DOCUMENT)

        assert sorted(StepValue.objects.values_list("tenant_id", flat=True)) == sorted({job.tenant_id for job in Job.objects.all()})

    def test_a_later_attempt_and_a_reader_get_the_whole_value(self) -> None:
        job = a_job(JobState.WORKING)
        keep(job, "look", DOCUMENT)
        keep(job, "rest", SMALL)

        steps = journals.steps_of([job.pk])[job.pk]
        assert [steps[StepKey(name, 1)].result for name in ("look", "rest")] == [DOCUMENT, SMALL]
        assert [step_result(step) for step in steps_of(job)] == [DOCUMENT, SMALL]

    def test_the_database_takes_no_result_in_two_places(self) -> None:
        job = a_job(JobState.WORKING)
        keep(job, "look", DOCUMENT)

        with pytest.raises(IntegrityError), transaction.atomic():
            job.steps.update(result=SMALL)

    def test_a_value_goes_with_the_last_step_that_names_it(self) -> None:
        one = a_job(JobState.WORKING)
        other = a_job(JobState.WORKING, tenant_id=one.tenant_id)
        keep(one, "look", DOCUMENT)
        keep(other, "look", DOCUMENT)

        assert (journals.drop([one.pk]), StepValue.objects.count()) == (1, 1)
        assert (journals.drop([other.pk]), StepValue.objects.count()) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_values_that_are_dropped_and_kept_at_once_are_never_missing() -> None:
    tenant = uuid4()
    jobs = [a_job(JobState.WORKING, tenant_id=tenant) for _ in range(40)]

    def keeps(job: Job) -> None:
        try:
            keep(job, "look", DOCUMENT)
        finally:
            connections.close_all()

    def drops(job: Job) -> None:
        try:
            while not journals.drop([job.pk]):
                pass
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(act, job) for job in jobs for act in ((keeps, drops) if job in jobs[::2] else (keeps,))]
        for each in work:
            each.result(60)

    left = journals.steps_of([job.pk for job in jobs])
    assert {job_id: steps[StepKey("look", 1)].result == DOCUMENT for job_id, steps in left.items()} == {job.pk: True for job in jobs[1::2]}
    journals.drop([job.pk for job in jobs])
    assert not StepValue.objects.exists()
    assert not StepRecord.objects.exists()
