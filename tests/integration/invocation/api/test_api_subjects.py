"""Subjects over the API: forgotten at the tenant's word, by an erasure that can be read; others' are out of reach."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from invocation.domain.jobs import JobState
from invocation.models import Erasure, Job
from invocation.services import erasures
from quota.domain.callers import Scope
from tests.integration.invocation.api.calling import Account, open_account, refusal
from tests.integration.invocation.rows import a_job

pytestmark = pytest.mark.django_db


def forget(account: Account, subject: str) -> Any:
    return account.api.delete(f"/v1/subjects/{quote(subject, safe='')}")


@pytest.mark.parametrize("subject", ["reader-7", "a/b c", "größe@example.com"])
def test_a_subject_is_forgotten_at_the_tenants_word(account: Account, subject: str) -> None:
    job = a_job(JobState.QUEUED, tenant_id=account.tenant_id, subject=subject)
    answer = forget(account, subject)
    told = answer.json()

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/erasures/{told['id']}"
    assert (told["finished_at"], told["jobs_erased"]) == (None, 0)
    assert subject not in answer.content.decode()

    erasures.sweep(now=datetime.now(UTC))
    done = account.api.get(answer.headers["Location"]).json()
    assert (done["finished_at"] is not None, done["jobs_stopped"], done["jobs_erased"], done["turns_erased"]) == (True, 1, 1, 0)
    assert Job.objects.get(pk=job.pk).subject == ""


def test_another_tenants_subject_of_the_same_name_is_not_forgotten(account: Account, stranger: Account) -> None:
    job = a_job(JobState.QUEUED, tenant_id=stranger.tenant_id, subject="reader-7")
    forget(account, "reader-7")
    erasures.sweep(now=datetime.now(UTC))

    assert (Job.objects.get(pk=job.pk).subject, Job.objects.get(pk=job.pk).state) == ("reader-7", "queued")


def test_a_tenant_that_asks_for_too_many_at_once_is_told_to_wait(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "MOST_OPEN", 1)
    forget(account, "reader-7")

    assert refusal(forget(account, "reader-8"), status=409, code="too_many_erasures")["most"] == 1


def test_another_tenants_erasure_is_not_seen(account: Account, stranger: Account) -> None:
    place = forget(account, "reader-7").headers["Location"]

    refusal(stranger.api.get(place), status=404, code="not_found")


def test_who_forgot_is_on_record(account: Account) -> None:
    forget(account, "reader-7")

    assert Erasure.objects.get().asked_by.startswith("key ")


def test_only_a_key_that_manages_may_forget(db: None) -> None:
    caller = open_account(scopes=[Scope.READ, Scope.INVOKE])

    refusal(forget(caller, "reader-7"), status=403, code="scope_missing")
    assert not Erasure.objects.exists()


@pytest.mark.parametrize("subject", ["x" * 201, " "])
def test_a_subject_that_can_be_none_is_refused(account: Account, subject: str) -> None:
    assert refusal(forget(account, subject), status=422, code="input_invalid")["field"] == "/subject"
