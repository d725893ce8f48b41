from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from invocation.api import jobs as calls_of_jobs
from invocation.domain.jobs import Move
from invocation.gateways import declared
from invocation.models import Job, Result, StepRecord
from invocation.services import lifecycle, webhooks
from quota.domain.classes import PriorityClass
from tests.integration.invocation.api.calling import Account, a_run, open_account, post, refusal, submit
from tests.integration.invocation.rows import a_process
from tests.integration.invocation.webhooks.rows import a_webhook


def work_on(job_id: str, *, at: datetime) -> Job:
    """Take a job as a worker does."""
    process = a_process("p1", now=at)
    lifecycle.move_one(Move.ADMIT, lifecycle.of(job_id), now=at)
    lifecycle.move_one(Move.CLAIM, lifecycle.of(job_id, owner=process.pk), now=at)
    return Job.objects.get(pk=job_id)


def fail(job_id: str, *, at: datetime) -> None:
    job = work_on(job_id, at=at)
    error = {"code": "bad_code", "sentence": "It broke.", "cause": "bad_code", "remedy": "Mend it."}
    given = lifecycle.of(job.pk, attempt=1, owner=job.owner, error=error, cause="bad_code", reason="bad_code", charged=1)
    lifecycle.move_one(Move.BURY, given, now=at, right=lifecycle.HOLDER)


def complete(job_id: str, *, at: datetime) -> None:
    job = work_on(job_id, at=at)
    Result.objects.create(job=job, output={"text": "done"}, at=at)
    lifecycle.move_one(Move.COMPLETE, lifecycle.of(job.pk, attempt=1, owner=job.owner), now=at, right=lifecycle.HOLDER)


def ask(job_id: str, *, at: datetime) -> None:
    job = work_on(job_id, at=at)
    questions = {"approve": {"sentence": "Refund?", "schema": {"type": "object", "required": ["approved"]}}}
    lifecycle.move_one(Move.ASK, lifecycle.of(job.pk, attempt=1, owner=job.owner, questions=questions), now=at, right=lifecycle.HOLDER)


def test_a_submission_answers_202_at_once_with_its_place(account: Account) -> None:
    answer = post(account, "/v1/jobs", {"endpoint": "personalize@1", "input": {"text": "new?"}})

    told = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{told['id']}" == told["links"]["self"]
    assert (told["state"], told["endpoint"], told["queue_position"], told["eta_s"]) == ("queued", "personalize@1", 1, None)
    assert Job.objects.get(pk=told["id"]).tenant_id == account.tenant_id


def test_all_that_a_submission_says_binds_the_job(account: Account) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    until = datetime.now(UTC) + timedelta(hours=1)
    body = {
        "endpoint": "personalize@1",
        "input": {"text": "new?"},
        "subject": "r-001",
        "locale": "de",
        "metadata": {"order": "7"},
        "ordering_key": "lane",
        "budget": {"cost_usd": "0.01"},
        "expires_at": until.isoformat(),
    }
    job = Job.objects.get(pk=post(account, "/v1/jobs", body, traceparent=trace).json()["id"])

    assert (job.subject, job.locale, job.metadata, job.ordering_key) == ("r-001", "de", {"order": "7"}, "lane")
    assert (str(job.cost_cap_usd), job.expires_at) == ("0.010000", until)
    assert job.traceparent[:36] == trace[:36]
    assert job.traceparent != trace


def test_a_budget_above_the_endpoints_ceiling_stays_at_the_ceiling(account: Account) -> None:
    body = {"endpoint": "personalize@1", "input": {"text": "new?"}, "budget": {"cost_usd": "400"}}
    job = Job.objects.get(pk=post(account, "/v1/jobs", body).json()["id"])

    assert str(job.cost_cap_usd) == "0.500000"


@pytest.mark.parametrize("again", ['"once"', "once"])
def test_the_same_key_and_body_answer_the_same_202(account: Account, again: str) -> None:
    body = {"endpoint": "personalize@1", "input": {"text": "new?"}}
    first = post(account, "/v1/jobs", body, Idempotency_Key='"once"')
    second = post(account, "/v1/jobs", {"input": {"text": "new?"}, "endpoint": "personalize@1"}, Idempotency_Key=again)

    assert (second.status_code, second.json()) == (202, first.json())
    assert second.headers["Location"] == first.headers["Location"]
    assert Job.objects.count() == 1


def test_a_call_sent_again_is_answered_with_its_job_also_where_it_would_be_refused_by_now(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    body = {"endpoint": "personalize@1", "input": {"text": "new?"}, "expires_at": (now + timedelta(hours=1)).isoformat()}
    first = post(account, "/v1/jobs", body, Idempotency_Key="once")
    monkeypatch.setattr(calls_of_jobs, "timezone", SimpleNamespace(now=lambda: now + timedelta(hours=2)))
    again = post(account, "/v1/jobs", body, Idempotency_Key="once")

    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Location"] == first.headers["Location"]
    for other in ({"Idempotency_Key": "another"}, {}):
        assert refusal(post(account, "/v1/jobs", body, **other), status=422, code="input_invalid")["field"] == "/expires_at"
    changed = {**body, "input": {"text": "other"}}
    refusal(post(account, "/v1/jobs", changed, Idempotency_Key="once"), status=422, code="input_invalid")
    assert Job.objects.count() == 1


def test_a_call_sent_again_outlives_its_webhook_and_its_endpoint(account: Account, settings: Any) -> None:
    kept = a_webhook(account.tenant_id).row
    body = {"endpoint": "personalize@1", "input": {"text": "new?"}, "webhook": str(kept.pk)}
    first = post(account, "/v1/jobs", body, Idempotency_Key="once").json()
    webhooks.delete(kept.pk, now=datetime.now(UTC))
    assert post(account, "/v1/jobs", body, Idempotency_Key="once").json() == first

    settings.ENDPOINT_MODULES = ("tests.integration.invocation.waits.family",)
    declared.book.cache_clear()
    try:
        assert post(account, "/v1/jobs", body, Idempotency_Key="once").json() == first
    finally:
        declared.book.cache_clear()


@pytest.mark.django_db
def test_a_key_of_a_lower_class_is_refused_what_another_key_of_its_tenant_has_made() -> None:
    first = open_account(tenant="one shop")
    lower = open_account(tenant="one shop", highest=PriorityClass.P2)
    submit(first, Idempotency_Key="once")
    body = {"endpoint": "personalize@1", "input": {"text": "What is new?"}}

    refusal(post(lower, "/v1/jobs", body, Idempotency_Key="once"), status=403, code="class_not_allowed")


def test_the_same_key_with_another_body_is_refused_and_the_first_job_stands(account: Account) -> None:
    job_id = submit(account, text="one", Idempotency_Key="k")
    answer = post(account, "/v1/jobs", {"endpoint": "personalize@1", "input": {"text": "two"}}, Idempotency_Key="k")

    refusal(answer, status=422, code="idempotency_conflict")
    assert [str(pk) for pk in Job.objects.values_list("pk", flat=True)] == [job_id]


def test_two_tenants_may_use_the_same_idempotency_key(account: Account, stranger: Account) -> None:
    assert submit(account, Idempotency_Key="k") != submit(stranger, Idempotency_Key="k")


@pytest.mark.parametrize("key", ['""', "x" * 256, "ü"])
def test_an_idempotency_key_that_cannot_be_one_is_refused_by_name(account: Account, key: str) -> None:
    answer = post(account, "/v1/jobs", {"endpoint": "personalize@1", "input": {"text": "new?"}}, Idempotency_Key=key)

    assert refusal(answer, status=422, code="input_invalid")["field"] == "Idempotency-Key"


def test_a_job_is_read_with_its_place_and_kin(account: Account) -> None:
    first, second = submit(account, text="one"), submit(account, text="two")
    told = account.api.get(f"/v1/jobs/{second}").json()

    assert (told["id"], told["state"], told["queue_position"], told["input"]) == (second, "queued", 2, {"text": "two"})
    assert account.api.get(f"/v1/jobs/{first}").json()["queue_position"] == 1


def test_a_result_is_a_typed_refusal_until_the_job_has_one(account: Account, now: datetime) -> None:
    job_id = submit(account)
    early = refusal(account.api.get(f"/v1/jobs/{job_id}/result"), status=404, code="result_not_ready")
    complete(job_id, at=now)
    told = account.api.get(f"/v1/jobs/{job_id}/result").json()

    assert early["state"] == "queued"
    assert (told["id"], told["output"]) == (job_id, {"text": "done"})


def test_a_failed_jobs_result_is_gone_and_says_why(account: Account, now: datetime) -> None:
    job_id = submit(account)
    fail(job_id, at=now)
    told = refusal(account.api.get(f"/v1/jobs/{job_id}/result"), status=410, code="no_result")

    assert (told["state"], told["error"]["code"]) == ("failed", "bad_code")


def test_a_queued_job_is_cancelled_at_once_and_again_without_harm(account: Account) -> None:
    job_id = submit(account)
    first = post(account, f"/v1/jobs/{job_id}/cancel", {"reason": "changed my mind"})
    second = post(account, f"/v1/jobs/{job_id}/cancel", None)

    assert (first.status_code, first.json()["state"], first.json()["reason"]) == (202, "cancelled", "changed my mind")
    assert (second.status_code, second.json()["state"]) == (202, "cancelled")


def test_a_working_job_is_cancelling_until_its_worker_confirms(account: Account, now: datetime) -> None:
    job_id = submit(account)
    work_on(job_id, at=now)

    assert post(account, f"/v1/jobs/{job_id}/cancel", {}).json()["state"] == "cancelling"


def test_a_completed_job_cannot_be_cancelled(account: Account, now: datetime) -> None:
    job_id = submit(account)
    complete(job_id, at=now)

    refusal(post(account, f"/v1/jobs/{job_id}/cancel", {}), status=409, code="stale_move")


def test_an_answer_queues_the_job_again(account: Account, now: datetime) -> None:
    job_id = submit(account)
    ask(job_id, at=now)
    answer = post(account, f"/v1/jobs/{job_id}/input", {"key": "approve", "value": {"approved": True}})

    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert Job.objects.get(pk=job_id).answers == {"approve": {"approved": True}}


def test_an_answer_to_another_question_or_of_the_wrong_shape_is_refused(account: Account, now: datetime) -> None:
    job_id = submit(account)
    refusal(post(account, f"/v1/jobs/{job_id}/input", {"key": "approve", "value": {}}), status=409, code="not_waiting")
    ask(job_id, at=now)

    refusal(post(account, f"/v1/jobs/{job_id}/input", {"key": "other", "value": {}}), status=409, code="not_waiting")
    told = refusal(post(account, f"/v1/jobs/{job_id}/input", {"key": "approve", "value": {}}), status=422, code="input_invalid")
    assert told["field"] == "/value/approved"


def test_a_failed_job_is_redriven_once_as_a_new_one(account: Account, now: datetime) -> None:
    job_id = submit(account)
    fail(job_id, at=now)
    again = post(account, f"/v1/jobs/{job_id}/redrive", {"input": {"text": "mended"}})
    old = account.api.get(f"/v1/jobs/{job_id}").json()
    new = account.api.get(f"/v1/jobs/{again.json()['id']}").json()

    assert (again.status_code, old["state"], old["redriven_as"]) == (202, "failed", new["id"])
    assert (new["state"], new["redrive_of"], new["input"]) == ("queued", job_id, {"text": "mended"})
    refusal(post(account, f"/v1/jobs/{job_id}/redrive", {}), status=409, code="stale_move")


def test_a_job_that_has_not_failed_cannot_be_redriven(account: Account) -> None:
    refusal(post(account, f"/v1/jobs/{submit(account)}/redrive", {}), status=409, code="stale_move")


def test_the_eta_comes_from_what_was_measured(account: Account, now: datetime) -> None:

    a_process("p1", slots=4, now=now)
    for _ in range(3):
        a_run("async-queue", took_ms=2_000, at=now)
    submit(account)
    told = post(account, "/v1/jobs", {"endpoint": "personalize@1", "input": {"text": "x"}}).json()

    assert told["eta_s"] is not None
    assert told["eta_s"] >= 2.0


def test_a_key_of_a_low_class_cannot_submit_above_it(db: None) -> None:

    low = open_account(highest=PriorityClass.P2)
    refusal(post(low, "/v1/jobs", {"endpoint": "personalize@1", "input": {"text": "x"}}), status=403, code="class_not_allowed")


def test_an_unknown_job_is_not_found(account: Account) -> None:
    refusal(account.api.get(f"/v1/jobs/{uuid4()}"), status=404, code="not_found")
    refusal(account.api.get("/v1/jobs/not-an-id"), status=404, code="not_found")


def test_the_journal_lists_finished_steps(account: Account, now: datetime) -> None:

    job_id = submit(account)
    StepRecord.objects.create(job_id=UUID(job_id), name="search", occurrence=1, fingerprint="f", result=[1], attempt=1, at=now)

    (step,) = account.api.get(f"/v1/jobs/{job_id}/journal").json()["items"]
    assert (step["name"], step["occurrence"], step["result"]) == ("search", 1, [1])
