"""Contexts over the API: moved on, read with their newest answer; results delivered, annotated or withheld."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
import pytest

from invocation.domain.jobs import JobState
from invocation.gateways.database import off_loop
from invocation.models import ContextRecord, Job
from invocation.services import contexts, webhooks
from invocation.services.webhooks import WebhookTerms
from tests.integration.invocation.api.calling import Account, open_account, post, refusal
from tests.integration.invocation.completing import bury, complete
from tests.integration.invocation.rows import a_job

pytestmark = pytest.mark.django_db
BODY = {"endpoint": "personalize@1", "input": {"text": "new?"}}


def put(account: Account, key: str, body: Any = None) -> Any:
    return account.api.put(f"/v1/contexts/{key}", body, format="json") if body is not None else account.api.put(f"/v1/contexts/{key}")


def answered(account: Account, policy: str, *, is_late: bool) -> Job:
    """A completed job of the context's first version, which has moved on where it is late."""
    named = {"context_key": "chat-7", "context_version": 1, "relevance": policy}
    contexts.bump(account.tenant_id, "chat-7", now=datetime.now(UTC))
    job = a_job(JobState.WORKING, tenant_id=account.tenant_id, **named)
    complete(job, text="the answer")
    if is_late:
        put(account, "chat-7")
    return job


def test_put_moves_a_context_on(account: Account) -> None:
    assert [put(account, "chat-7").json()["version"] for _ in range(3)] == [1, 2, 3]
    assert put(account, "chat-7", {"version": 9}).json() == {"key": "chat-7", "version": 9, "answer": None}
    assert put(account, "chat-7", {"version": 9}).status_code == 200


def test_a_version_that_would_go_back_is_refused_with_the_current_one(account: Account) -> None:
    put(account, "chat-7", {"version": 9})

    assert refusal(put(account, "chat-7", {"version": 8}), status=409, code="context_moved_on")["current_version"] == 9
    assert account.api.get("/v1/contexts/chat-7").json()["version"] == 9


@pytest.mark.parametrize("version", [0, -1, 2**53, "3", 1.5, True])
def test_a_version_that_is_none_is_refused_by_name(account: Account, version: Any) -> None:
    assert refusal(put(account, "chat-7", {"version": version}), status=422, code="input_invalid")["field"] == "/version"


@pytest.mark.parametrize("key", ["x" * 201, "-x", "a%20b", "ü", "a%0A"])
def test_a_key_that_is_none_is_refused_by_name(account: Account, key: str) -> None:
    assert refusal(put(account, key), status=422, code="input_invalid")["field"] == "/key"
    assert not ContextRecord.objects.exists()


def test_a_context_that_nobody_named_is_not_found(account: Account) -> None:
    refusal(account.api.get("/v1/contexts/chat-7"), status=404, code="not_found")


def test_another_tenants_context_is_not_seen_and_not_moved(account: Account, stranger: Account) -> None:
    put(account, "chat-7", {"version": 9})

    refusal(stranger.api.get("/v1/contexts/chat-7"), status=404, code="not_found")
    assert put(stranger, "chat-7").json()["version"] == 1
    assert account.api.get("/v1/contexts/chat-7").json()["version"] == 9


def test_who_may_only_read_moves_no_context(db: None) -> None:
    from quota.domain.callers import Scope

    reader = open_account(scopes=[Scope.READ])

    refusal(put(reader, "chat-7"), status=403, code="scope_missing")


def test_a_submission_names_its_context_and_the_job_shows_it(account: Account) -> None:
    put(account, "chat-7", {"version": 3})
    job_id = post(account, "/v1/jobs", {**BODY, "context": {"key": "chat-7", "policy": "withhold"}}).json()["id"]
    told = account.api.get(f"/v1/jobs/{job_id}").json()

    assert told["context"] == {"key": "chat-7", "version": 3, "policy": "withhold"}
    assert told["relevance"] == {"is_current": True, "asked_version": 3, "current_version": 3}
    assert (told["parent"], told["root"], told["depth"], told["attempt"], told["failures"], told["losses"]) == (None, None, 0, 0, 0, 0)


def test_a_context_that_is_named_first_by_a_job_begins_there(account: Account) -> None:
    for key, version, begins in (("a", {}, 1), ("b", {"version": 5}, 5)):
        post(account, "/v1/jobs", {**BODY, "context": {"key": key, **version}})
        assert account.api.get(f"/v1/contexts/{key}").json()["version"] == begins


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({}, "/context/key"),
        ({"key": "a/b"}, "/context/key"),
        ({"key": "a", "version": 0}, "/context/version"),
        ({"key": "a", "policy": "hide"}, "/context/policy"),
    ],
)
def test_a_context_that_is_wrong_is_refused_by_name(account: Account, context: Any, field: str) -> None:
    answer = post(account, "/v1/jobs", {**BODY, "context": context})

    assert refusal(answer, status=422, code="input_invalid")["field"] == field
    assert not Job.objects.exists()


@pytest.mark.parametrize("policy", ["deliver", "annotate", "withhold"])
def test_a_result_in_time_is_delivered_whatever_the_policy(account: Account, policy: str) -> None:
    told = account.api.get(f"/v1/jobs/{answered(account, policy, is_late=False).pk}/result")

    assert (told.status_code, told.json()["output"]) == (200, {"text": "the answer"})


def test_a_late_result_is_delivered_as_it_is_or_annotated(account: Account) -> None:
    plain = account.api.get(f"/v1/jobs/{answered(account, 'deliver', is_late=True).pk}/result").json()
    assert (plain["output"], plain["relevance"]) == ({"text": "the answer"}, None)

    contexts_before = ContextRecord.objects.get().version
    job = a_job(JobState.WORKING, tenant_id=account.tenant_id, context_key="chat-7", context_version=1, relevance="annotate")
    complete(job, text="the answer")
    noted = account.api.get(f"/v1/jobs/{job.pk}/result").json()
    assert noted["output"] == {"text": "the answer"}
    assert noted["relevance"] == {"is_current": False, "asked_version": 1, "current_version": contexts_before}


def test_a_late_result_is_withheld_and_shown_to_who_insists(account: Account) -> None:
    job = answered(account, "withhold", is_late=True)
    refused = refusal(account.api.get(f"/v1/jobs/{job.pk}/result"), status=409, code="result_withheld")
    shown = account.api.get(f"/v1/jobs/{job.pk}/result?withheld=show").json()

    assert refused["relevance"] == shown["relevance"] == {"is_current": False, "asked_version": 1, "current_version": 2}
    assert shown["output"] == {"text": "the answer"}


def test_a_late_failure_says_that_it_is_late(account: Account) -> None:
    contexts.bump(account.tenant_id, "chat-7", now=datetime.now(UTC))
    job = a_job(JobState.WORKING, tenant_id=account.tenant_id, context_key="chat-7", context_version=1, relevance="annotate")
    bury(job)
    put(account, "chat-7")

    told = refusal(account.api.get(f"/v1/jobs/{job.pk}/result"), status=410, code="no_result")
    assert told["relevance"] == {"is_current": False, "asked_version": 1, "current_version": 2}


def test_a_context_tells_its_newest_answer(account: Account) -> None:
    job = answered(account, "annotate", is_late=False)
    told = account.api.get("/v1/contexts/chat-7").json()["answer"]

    assert (told["job"], told["version"], told["is_current"], told["output"]) == (str(job.pk), 1, True, {"text": "the answer"})
    assert told["result"] == f"/v1/jobs/{job.pk}/result"

    assert put(account, "chat-7").json()["answer"]["is_current"] is False


def test_a_context_does_not_tell_an_answer_that_is_withheld_by_now(account: Account) -> None:
    answered(account, "withhold", is_late=True)

    assert account.api.get("/v1/contexts/chat-7").json()["answer"]["output"] is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("on_this_loop")
async def test_the_last_event_says_whether_the_context_has_moved_on() -> None:
    account = await off_loop(open_account)
    job = await off_loop(answered, account, "withhold", is_late=True)
    answer: Any = await account.stream.get(f"/v1/jobs/{job.pk}/events")
    lines = b"".join([chunk async for chunk in answer]).split(b"\n")
    events = [orjson.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]

    assert events[-1]["type"] == "job.completed"
    assert events[-1]["data"]["relevance"] == {"is_current": False, "asked_version": 1, "current_version": 2}
    assert "relevance" not in events[0]["data"]


class TestWiring:
    def test_the_ordering_policy_is_taken(self, account: Account) -> None:
        first = post(account, "/v1/jobs", {**BODY, "ordering_key": "lane"}).json()["id"]
        busy = post(account, "/v1/jobs", {**BODY, "ordering_key": "lane", "ordering_policy": "reject"})
        assert refusal(busy, status=409, code="ordering_key_busy")["job_id"] == first

        post(account, "/v1/jobs", {**BODY, "ordering_key": "lane", "ordering_policy": "replace"})
        assert Job.objects.get(pk=first).state == "cancelled"

    def test_an_ordering_policy_without_a_key_is_refused(self, account: Account) -> None:
        answer = post(account, "/v1/jobs", {**BODY, "ordering_policy": "reject"})
        assert refusal(answer, status=422, code="input_invalid")["field"] == "/ordering_policy"

    def test_a_webhook_of_ones_own_is_taken(self, account: Account) -> None:
        terms = WebhookTerms(url="https://example.com/hook", events=["job.completed"], takes_all_jobs=False)  # type: ignore[list-item]
        webhook, _ = webhooks.create(account.tenant_id, terms, now=datetime.now(UTC))
        job_id = post(account, "/v1/jobs", {**BODY, "webhook": str(webhook.pk)}).json()["id"]

        assert account.api.get(f"/v1/jobs/{job_id}").json()["webhook"] == str(webhook.pk)

    def test_another_tenants_webhook_is_as_unknown_as_none(self, account: Account, stranger: Account) -> None:
        terms = WebhookTerms(url="https://example.com/hook", events=["job.completed"])  # type: ignore[list-item]
        webhook, _ = webhooks.create(stranger.tenant_id, terms, now=datetime.now(UTC))

        for named in (webhook.pk, uuid4()):
            answer = post(account, "/v1/jobs", {**BODY, "webhook": str(named)})
            assert refusal(answer, status=422, code="input_invalid")["field"] == "/webhook"
        assert not Job.objects.exists()
