"""Answers and callbacks over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client

from invocation.domain.jobs import Fence, JobState, Move
from invocation.domain.waits import for_callback
from invocation.models import Callback, Job
from invocation.services import callbacks, lifecycle
from tests.integration.invocation.api.calling import Account, post, refusal
from tests.integration.invocation.rows import a_job

QUESTIONS = {
    "ok": {"sentence": "Is it?", "schema": {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}},
    "when": {"sentence": "When?", "schema": {"type": "string"}},
}


def asking(account: Account) -> UUID:
    job: UUID = a_job(JobState.INPUT_REQUIRED, tenant_id=account.tenant_id, questions=QUESTIONS).pk
    return job


def waiting_for_a_call(account: Account) -> tuple[Job, str]:
    """Park a job for a callback and return it with the callback's path."""
    job = a_job(JobState.WORKING, tenant_id=account.tenant_id)
    fence = Fence(str(job.pk), job.attempt, str(job.owner))
    url = callbacks.open_callback(fence, "paid")
    now = datetime.now(UTC)
    facts = {"awaiting": for_callback("paid"), "reason": "callback", "due_at": now + timedelta(hours=1)}
    lifecycle.move_one(Move.WAIT, lifecycle.held(fence, **facts), now=now, right=lifecycle.HOLDER)
    return job, "/v1/callbacks/" + url.rpartition("/")[2]


def call(path: str, body: Any = b'{"usd": 7}', content_type: str = "application/json") -> Any:
    return Client().post(path, body, content_type=content_type)


def test_answers_may_come_one_by_one(account: Account) -> None:
    job_id = asking(account)
    first = post(account, f"/v1/jobs/{job_id}/input", {"answers": {"when": "soon"}})
    second = post(account, f"/v1/jobs/{job_id}/input", {"answers": {"ok": {"yes": True}}})

    assert (first.status_code, first.json()["state"], list(first.json()["questions"])) == (202, "input_required", ["ok"])
    assert (second.status_code, second.json()["state"], second.json()["questions"]) == (202, "queued", None)
    assert Job.objects.get(pk=job_id).answers == {"when": "soon", "ok": {"yes": True}}


def test_one_answer_may_come_as_key_and_value(account: Account) -> None:
    answer = post(account, f"/v1/jobs/{asking(account)}/input", {"key": "when", "value": "soon"})

    assert (answer.status_code, list(answer.json()["questions"])) == (202, ["ok"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "/answers"),
        ({"answers": {}}, "/answers"),
        ({"answers": []}, "/answers"),
        ({"answers": {"when": "soon"}, "key": "ok", "value": {}}, "/answers"),
        ({"key": "ok"}, "/value"),
        ({"answers": {"ok": {"yes": 1}}}, "/answers/ok/yes"),
        ({"key": "ok", "value": {"yes": 1}}, "/value/yes"),
        ({"answer": {}}, "/answer"),
    ],
)
def test_an_answer_of_the_wrong_shape_is_refused_by_its_place(account: Account, body: dict[str, Any], field: str) -> None:
    job_id = asking(account)

    assert refusal(post(account, f"/v1/jobs/{job_id}/input", body), status=422, code="input_invalid")["field"] == field
    assert Job.objects.get(pk=job_id).answers == {}


def test_an_answer_to_what_is_not_asked_is_refused(account: Account, stranger: Account) -> None:
    job_id = asking(account)

    refusal(post(account, f"/v1/jobs/{job_id}/input", {"answers": {"why": 1}}), status=409, code="not_waiting")
    refusal(post(stranger, f"/v1/jobs/{job_id}/input", {"answers": {"when": "soon"}}), status=404, code="not_found")


def test_a_callback_needs_no_key_and_wakes_the_job(account: Account) -> None:
    job, path = waiting_for_a_call(account)
    answer = call(path)

    assert (answer.status_code, answer.json()) == (202, {"accepted": True})
    assert Job.objects.get(pk=job.pk).state == "queued"
    assert Callback.objects.get(job=job).value == {"usd": 7}


def test_a_second_call_is_answered_like_the_first_and_the_first_value_stands(account: Account) -> None:
    job, path = waiting_for_a_call(account)
    first, second = call(path), call(path, b"[1]")

    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert Callback.objects.get(job=job).value == {"usd": 7}


def test_an_unknown_token_is_answered_the_same_whatever_it_is(account: Account) -> None:
    _, path = waiting_for_a_call(account)
    told = [refusal(call(f"/v1/callbacks/{guess}"), status=404, code="not_found") for guess in ("x", uuid4(), path[-10:])]

    assert len({str({**each, "instance": ""}) for each in told}) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'"' + b"a" * 65_536 + b'"', "application/json", 413, "body_too_large"),
        (b"{", "application/json", 400, "bad_json"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b'"\\u0000"', "application/json", 422, "input_invalid"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_the_job_waits_on(
    account: Account, body: bytes, content_type: str, status: int, code: str
) -> None:
    job, path = waiting_for_a_call(account)

    refusal(call(path, body, content_type), status=status, code=code)
    assert Job.objects.get(pk=job.pk).state == "waiting"


def test_the_owner_is_told_what_a_job_waits_for_and_until_when(account: Account) -> None:
    job, path = waiting_for_a_call(account)
    told = account.api.get(f"/v1/jobs/{job.pk}").json()

    assert (told["state"], told["awaiting"]["callback"]) == ("waiting", "paid")
    assert told["awaiting"]["url"].endswith(path)
    assert told["due_at"] is not None


def test_a_callback_is_called_and_not_read(account: Account) -> None:
    _, path = waiting_for_a_call(account)

    assert Client().get(path).status_code == 405
