from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework.exceptions import NotAuthenticated, ParseError

from invocation.api.problem_rules import RULES
from invocation.api.problems import DEFECT, every_code, failed, problem_of, respond
from invocation.domain.errors import AdmissionHeld, InvocationError, Saturated, StaleMove
from quota.domain.errors import QuotaError, RateExceeded
from quota.domain.rates import Rate

TAKES_A_LATER_CALL = {429, 503}


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


@pytest.mark.parametrize("kind", [*below(InvocationError), *below(QuotaError)], ids=lambda kind: kind.__name__)
def test_every_refusal_has_a_row_of_its_own(kind: type[Exception]) -> None:
    assert kind in RULES


def test_codes_are_told_once_and_have_a_title() -> None:
    told = every_code()

    assert len({each.code for each in told}) == len(told)
    assert all(each.title and each.code.isidentifier() for each in told)


def test_what_is_retryable_is_answered_by_a_status_that_says_so() -> None:
    lasting = {"session_busy", "result_not_ready"}
    wrong = [
        kind
        for kind, rule in RULES.items()
        if getattr(kind, "retryable", False) and rule.status not in TAKES_A_LATER_CALL and getattr(kind, "code", "") not in lasting
    ]
    assert wrong == []


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "1"), (1.0, "1"), (1.01, "2"), (30, "30")])
def test_retry_after_is_rounded_up_so_that_it_is_never_earlier(seconds: float, told: str) -> None:
    problem = problem_of(Saturated("Full.", retry_after=timedelta(seconds=seconds)))

    assert problem.all_headers()["Retry-After"] == told
    assert problem.body("/v1/chat")["retry_after_s"] == int(told)


@pytest.mark.parametrize("error", [AdmissionHeld("Held."), RateExceeded(Rate(1, 0, 7)), OperationalError("gone")])
def test_every_429_and_503_says_when_to_come_back(error: Exception) -> None:
    assert int(problem_of(error).all_headers()["Retry-After"]) >= 1


def test_facts_stand_beside_the_fields_and_never_over_them() -> None:
    body = problem_of(StaleMove("Too late.", state="completed", status="x", type="y")).body("/v1/jobs/1")

    assert (body["state"], body["status"], body["type"]) == ("completed", 409, "/docs/problems#stale_move")


def test_an_outage_does_not_tell_where_the_database_is() -> None:
    body = problem_of(OperationalError("connection to server at 10.0.0.7, user gearbox failed")).body("/v1/jobs")

    assert (body["status"], body["code"]) == (503, "database_unavailable")
    assert "10.0.0.7" not in str(body)


def test_an_unforeseen_error_is_our_fault_and_tells_nothing() -> None:
    answer = respond(KeyError("secret"), RequestFactory().get("/v1/jobs"))

    assert answer.status_code == 500
    assert b"secret" not in answer.content
    assert problem_of(KeyError("secret")) is DEFECT


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ParseError("x"), 400, "bad_json"), (NotAuthenticated(), 401, "bad_key"), (Http404(), 404, "not_found")],
)
def test_a_frameworks_refusal_is_a_problem_too(error: Exception, status: int, code: str) -> None:
    assert (problem_of(error).status, problem_of(error).code) == (status, code)


def test_an_unknown_address_is_a_problem_below_v1_and_a_page_elsewhere(db: None) -> None:
    client = Client()

    assert client.get("/v1/nothing").headers["Content-Type"] == "application/problem+json"
    assert client.get("/nothing").headers["Content-Type"].startswith("text/html")


def test_a_broken_view_answers_a_problem_below_v1() -> None:
    assert failed(RequestFactory().get("/v1/jobs")).headers["Content-Type"] == "application/problem+json"
