"""The offer of an escape hatch: accepted once, by the one to whom it was made; and the sessions that are looked back at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.test import Client

from invocation.domain.turns import TurnState
from invocation.models import Continuation, Job, Turn
from quota.domain.classes import PriorityClass
from tests.integration.invocation.api.calling import Account, open_account, post, refusal
from tests.integration.invocation.rows import NOW, a_session, a_turn

ESCAPE = {"text": "Later.", "offer": "personalize@1"}


def failed_turn(account: Account, escape: dict[str, Any] | None = ESCAPE, **columns: Any) -> Turn:
    event = {"seq": 4, "type": "turn.failed", "at": NOW.isoformat(), "data": {"code": "latency_budget_exceeded", "escape": escape}}
    session = columns.pop("session", None) or a_session(account.tenant_id)
    given = {"input": {"text": "Why?"}, "subject": "r-1", "locale": "de", "metadata": {"a": "b"}, "last_event": event, **columns}
    return a_turn(TurnState.FAILED, session=session, **given)


def accept(account: Account, turn: Turn) -> Any:
    return post(account, f"/v1/turns/{turn.pk}/accept", {})


@pytest.mark.django_db
def test_an_accepted_offer_is_a_job_with_the_turns_input_and_the_turn_says_so(account: Account) -> None:
    turn = failed_turn(account)
    answer = accept(account, turn)
    told = answer.json()

    assert (answer.status_code, told["endpoint"], told["state"]) == (202, "personalize@1", "queued")
    assert answer.headers["Location"] == f"/v1/jobs/{told['id']}"
    job = Job.objects.get(pk=told["id"])
    assert (job.input, job.subject, job.locale, job.metadata) == ({"text": "Why?"}, "r-1", "de", {"a": "b"})
    assert (job.tenant_id, job.traceparent, job.latency_budget_ms) == (turn.tenant_id, turn.traceparent, 90_000)
    [shown] = account.api.get(f"/v1/sessions/{turn.session_id}").json()["turns"]
    assert (shown["job"], shown["escape"]) == (told["id"], ESCAPE)


@pytest.mark.django_db
def test_an_operator_sees_as_which_job_a_turn_went_on(account: Account, admin_client: Client) -> None:
    turn = failed_turn(account)
    job_id = accept(account, turn).json()["id"]

    page = admin_client.get(f"/admin/invocation/turn/{turn.pk}/change/").content.decode()
    assert f"/admin/invocation/job/{job_id}/change/" in page
    assert "went on as job" in page


@pytest.mark.django_db
def test_an_offer_is_accepted_once_however_often_it_is_clicked(account: Account) -> None:
    turn = failed_turn(account)

    assert len({accept(account, turn).json()["id"] for _ in range(3)}) == 1
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_accept_at_once_get_one_job() -> None:
    account = open_account()
    turn = failed_turn(account)

    def accepted(_: int) -> Any:
        try:
            return accept(account, turn).json()["id"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(accepted, range(4)))) == 1
    assert Job.objects.count() == Continuation.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("escape", [None, {"text": "Later.", "offer": None}])
def test_nothing_is_accepted_where_nothing_was_offered(account: Account, escape: dict[str, Any] | None) -> None:
    assert refusal(accept(account, failed_turn(account, escape)), status=409, code="nothing_offered")["remedy"]
    refusal(accept(account, a_turn(session=a_session(account.tenant_id))), status=409, code="nothing_offered")
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_what_was_offered_to_another_tenant_is_not_found(account: Account, stranger: Account) -> None:
    turn = failed_turn(account)

    refusal(accept(stranger, turn), status=404, code="not_found")
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_a_key_that_may_not_submit_jobs_of_the_class_accepts_none() -> None:
    account = open_account(highest=PriorityClass.P2)

    refusal(accept(account, failed_turn(account)), status=403, code="class_not_allowed")
    assert not Continuation.objects.exists()


@pytest.mark.django_db
def test_an_input_that_the_offered_endpoint_does_not_take_is_refused_and_may_be_accepted_later(account: Account) -> None:
    turn = failed_turn(account, input={"text": "Why?", "colour": "red"})

    refusal(accept(account, turn), status=422, code="input_invalid")
    assert not Continuation.objects.exists()


@pytest.mark.django_db
def test_what_was_retracted_is_kept_and_not_told_again(account: Account) -> None:
    turn = failed_turn(account, text="A secret.", retracted=True)
    [shown] = account.api.get(f"/v1/sessions/{turn.session_id}").json()["turns"]

    assert (shown["text"], shown["retracted"]) == ("", True)
    assert Turn.objects.get(pk=turn.pk).text == "A secret."


@pytest.mark.django_db
def test_sessions_are_listed_with_their_first_question(account: Account, stranger: Account) -> None:
    first = failed_turn(account, input={"text": "x" * 300}).session
    failed_turn(account, session=first, received_at=NOW + timedelta(hours=1))
    second = failed_turn(account, subject="").session
    bare = a_session(account.tenant_id)
    failed_turn(stranger)
    told = account.api.get("/v1/sessions").json()

    assert [each["id"] for each in told["items"]] == [str(each.pk) for each in (bare, second, first)]
    assert [(each["asked"], each["turns"]) for each in told["items"]] == [("", 0), ("Why?", 1), ("x" * 200, 2)]
    assert told["items"][2]["asked_at"].startswith("2026-11-20T13:00")
    mine = account.api.get("/v1/sessions?subject=r-1").json()["items"]
    assert [each["id"] for each in mine] == [str(first.pk)]
    assert account.api.get("/v1/sessions?endpoint=voice@1").json()["items"] == []


@pytest.mark.django_db
def test_a_turn_that_is_nowhere_is_not_found(account: Account) -> None:
    refusal(post(account, f"/v1/turns/{uuid4()}/accept", {}), status=404, code="not_found")
