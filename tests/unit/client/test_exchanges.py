from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import gearbox_client as client
from gearbox_client import AsyncGearbox, Gearbox, Problem, Retries, Unreachable, UnreadableAnswer
from tests.proxy import proxied
from tests.unit.client.scripted import Answer, problem, serving

SOON = timedelta(milliseconds=20)
QUICK = Retries(most=3, first_pause=SOON)
AT = "2026-11-20T12:00:00+00:00"
JOB = {"id": "j-1", "state": "queued", "endpoint": "e@1", "agent": "a@1", "attempt": 0, "created_at": AT}
ACCEPTED = {"id": "j-1", "state": "queued", "endpoint": "e@1", "created_at": AT, "queue_position": 1, "eta_s": 2}
FIRING = {"due_at": AT, "fired_at": AT, "state": "started", "job": "j-1"}
CUT = Answer(200, JOB, cuts=True)


def gearbox(url: str, **terms: Any) -> Gearbox:
    return Gearbox(url, "gbx_k", **{"retries": QUICK, "patience": timedelta(seconds=5), **terms})


def test_a_call_says_who_calls_and_what_it_wants() -> None:
    with serving(Answer(202, ACCEPTED)) as script, gearbox(script.url) as caller:
        accepted = caller.jobs.submit(
            "e@1",
            {"text": "Grüße"},
            idempotency_key="mine",
            budget=Decimal("0.000001"),
            expires_at=datetime(2027, 1, 1, tzinfo=UTC),
            context={"key": "cart", "version": 3, "policy": "withhold"},
            ordering_key="r-1",
            ordering_policy="replace",
        )

    (asked,) = script.asked
    assert (accepted.id, accepted.eta_s, accepted.created_at) == ("j-1", 2, datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert (asked.method, asked.path, asked.headers["authorization"]) == ("POST", "/v1/jobs", "Bearer gbx_k")
    assert asked.headers["idempotency-key"] == "mine"
    assert asked.body == {
        "endpoint": "e@1",
        "input": {"text": "Grüße"},
        "budget": {"cost_usd": "0.000001"},
        "expires_at": "2027-01-01T00:00:00+00:00",
        "context": {"key": "cart", "version": 3, "policy": "withhold"},
        "ordering_key": "r-1",
        "ordering_policy": "replace",
    }


def test_a_submission_without_a_key_of_its_own_gets_one_and_keeps_it_when_it_is_sent_again() -> None:
    with serving(problem(503, "held", retry_after="0"), CUT, Answer(202, ACCEPTED)) as script, gearbox(script.url) as caller:
        caller.jobs.submit("e@1", {})
        caller.jobs.submit("e@1", {})

    first, second, third, another = (asked.headers["idempotency-key"] for asked in script.asked)
    assert first == second == third
    assert another != first


@pytest.mark.parametrize("trouble", [CUT, problem(429, "rate_exceeded", retry_after="0"), problem(503, "held", retry_after="0")])
def test_a_call_that_only_reads_is_sent_again(trouble: Answer) -> None:
    with serving(trouble, trouble, Answer(200, JOB)) as script, gearbox(script.url) as caller:
        assert caller.jobs.get("j-1").state == "queued"

    assert len(script.asked) == 3


async def test_the_awaited_client_repeats_and_refuses_the_same() -> None:
    with serving(CUT, Answer(200, JOB), problem(404, "not_found")) as script:
        async with AsyncGearbox(script.url, "gbx_k", retries=QUICK) as caller:
            assert (await caller.jobs.get("j-1")).id == "j-1"
            with pytest.raises(client.NotFound):
                await caller.jobs.get("j-2")

    assert len(script.asked) == 3


@pytest.mark.parametrize("trouble", [CUT, problem(429, "rate_exceeded", retry_after="0"), problem(503, "held", retry_after="0")])
def test_a_call_that_acts_is_not_sent_twice(trouble: Answer) -> None:
    with serving(trouble, Answer(202, FIRING)) as script, gearbox(script.url) as caller, pytest.raises(client.GearboxError):
        caller.schedules.fire("s-1")

    assert len(script.asked) == 1


def test_a_bump_by_one_is_not_sent_twice_and_a_bump_to_a_version_may_be() -> None:
    with serving(CUT, CUT, Answer(200, {"key": "cart", "version": 7})) as script, gearbox(script.url) as caller:
        with pytest.raises(Unreachable):
            caller.contexts.bump("cart")
        assert caller.contexts.bump("cart", version=7).version == 7

    assert len(script.asked) == 3


def test_what_an_earlier_sending_deleted_is_no_refusal() -> None:
    with serving(CUT, problem(404, "not_found")) as script, gearbox(script.url) as caller:
        caller.webhooks.delete("w-1")
        with pytest.raises(client.NotFound):
            caller.webhooks.delete("w-1")

    assert [asked.method for asked in script.asked] == ["DELETE"] * 3


@pytest.mark.parametrize(("status", "retry_after"), [(500, "0"), (502, "0"), (503, None), (503, "3600")])
def test_what_gives_no_hope_is_raised_at_once(status: int, retry_after: str | None) -> None:
    with serving(problem(status, "away", retry_after=retry_after)) as script, gearbox(script.url) as caller, pytest.raises(Problem):
        caller.jobs.get("j-1")

    assert len(script.asked) == 1


def test_a_server_that_stays_away_is_unreachable_after_the_last_sending() -> None:
    with serving(CUT) as script, gearbox(script.url) as caller, pytest.raises(Unreachable, match="GET /v1/jobs/j-1"):
        caller.jobs.get("j-1")

    assert len(script.asked) == 3


def test_a_call_that_never_left_is_sent_again_also_when_it_acts() -> None:
    with serving(Answer(202, FIRING)) as script, proxied(script.port) as proxy:
        port = proxy.port
    with gearbox(f"http://127.0.0.1:{port}") as caller, pytest.raises(Unreachable):
        caller.schedules.fire("s-1")
    assert script.asked == []


def test_an_exchange_ends_when_the_server_says_nothing() -> None:
    with (
        serving(Answer(hangs=True)) as script,
        gearbox(script.url, patience=timedelta(milliseconds=100), retries=Retries(most=1)) as caller,
        pytest.raises(Unreachable),
    ):
        caller.jobs.result("j-1")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_json", client.Problem),
        (401, "bad_key", client.Unauthenticated),
        (403, "scope_missing", client.Forbidden),
        (404, "not_found", client.NotFound),
        (404, "result_not_ready", client.ResultNotReady),
        (409, "stale_move", client.Conflict),
        (409, "result_withheld", client.ResultWithheld),
        (410, "endpoint_retired", client.Gone),
        (410, "no_result", client.NoResult),
        (418, "result_not_ready", client.Problem),
        (422, "input_invalid", client.Refused),
        (429, "rate_exceeded", client.TooManyRequests),
        (500, "internal_error", client.ServerFault),
        (503, "held", client.Unavailable),
    ],
)
def test_a_problem_is_an_exception_of_its_own_kind(status: int, code: str, kind: type[Problem]) -> None:
    answer = problem(status, code, remedy="Do this.", retry_after="77", field="/input")
    with serving(answer) as script, gearbox(script.url) as caller, pytest.raises(Problem) as raised:
        caller.jobs.get("j-1")

    found = raised.value
    assert type(found) is kind
    assert (found.status, found.code, found.title, found.detail, found.remedy) == (status, code, "A title", "A detail.", "Do this.")
    assert (found.retry_after, dict(found.facts)) == (timedelta(seconds=77), {"field": "/input"})
    assert str(found) == f"{code}: A detail. Do this."


@pytest.mark.parametrize("body", ["<h1>Bad   Gateway</h1>", "[]", ""])
def test_what_a_proxy_answers_is_a_problem_too(body: str) -> None:
    with (
        serving(Answer(502, body, {"Content-Type": "text/html"})) as script,
        gearbox(script.url) as caller,
        pytest.raises(Problem) as raised,
    ):
        caller.jobs.get("j-1")

    assert (raised.value.code, raised.value.title) == ("http_502", "Bad Gateway")
    assert type(raised.value) is client.ServerFault


def test_a_redirect_is_not_followed_so_that_the_key_goes_nowhere_else() -> None:
    with serving(Answer(200, JOB)) as elsewhere, serving(Answer(307, headers={"Location": elsewhere.url})) as script:
        with gearbox(script.url) as caller, pytest.raises(Problem) as raised:
            caller.jobs.get("j-1")

        assert (raised.value.status, elsewhere.asked) == (307, [])


@pytest.mark.parametrize("body", ["<p>hello</p>", "[]", {**JOB, "attempt": "1"}, {**JOB, "attempt": True}, {**JOB, "created_at": "then"}])
def test_an_answer_that_breaks_the_contract_is_named(body: Any) -> None:
    with serving(Answer(200, body)) as script, gearbox(script.url) as caller, pytest.raises(UnreadableAnswer):
        caller.jobs.get("j-1")


def test_a_field_that_is_missing_is_named_and_one_that_is_new_is_passed_over() -> None:
    short = {name: value for name, value in JOB.items() if name != "agent"}
    with serving(Answer(200, {**JOB, "novelty": 1}), Answer(200, short)) as script, gearbox(script.url) as caller:
        assert caller.jobs.get("j-1").agent == "a@1"
        with pytest.raises(UnreadableAnswer, match=r"Job\.agent"):
            caller.jobs.get("j-1")


def test_a_list_goes_on_page_by_page_when_it_is_read_and_not_before() -> None:
    first = Answer(200, {"items": [{**JOB, "id": "a"}, {**JOB, "id": "b"}], "next": "there"})
    with serving(first, Answer(200, {"items": [{**JOB, "id": "c"}], "next": None})) as script, gearbox(script.url) as caller:
        found = caller.jobs.list(state="queued")
        assert script.asked == []
        assert [next(found).id, next(found).id] == ["a", "b"]
        assert len(script.asked) == 1
        assert [job.id for job in found] == ["c"]

    assert [asked.path for asked in script.asked] == [
        "/v1/jobs?state=queued&limit=100",
        "/v1/jobs?state=queued&limit=100&cursor=there",
    ]


async def test_a_list_is_read_by_the_awaited_client_too() -> None:
    first = Answer(200, {"items": [{**JOB, "id": "a"}], "next": "there"})
    with serving(first, Answer(200, {"items": [{**JOB, "id": "b"}], "next": None})) as script:
        async with AsyncGearbox(script.url, "gbx_k") as caller:
            assert [job.id async for job in caller.jobs.list()] == ["a", "b"]


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_an_id_that_would_name_another_address_is_refused_before_it_is_sent(name: str) -> None:
    with serving(Answer(200, JOB)) as script, gearbox(script.url) as caller:
        with pytest.raises(ValueError, match="no id"):
            caller.jobs.get(name)
        assert script.asked == []


def test_an_id_stays_one_segment_whatever_it_holds() -> None:
    with serving(Answer(200, JOB)) as script, gearbox(script.url) as caller:
        caller.jobs.get("a/../b?c=d#e")

    assert script.asked[0].path == "/v1/jobs/a%2F..%2Fb%3Fc%3Dd%23e"


def test_a_moment_without_a_time_zone_is_not_guessed() -> None:
    with gearbox("http://127.0.0.1:1") as caller, pytest.raises(ValueError, match="time zone"):
        caller.jobs.submit("e@1", {}, expires_at=datetime(2027, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Gearbox(url, "gbx_k")


def test_no_repr_shows_a_key_or_a_secret() -> None:
    told = {"id": "w", "url": "https://x", "events": [], "created_at": AT, "secret": "whsec_x"}
    with serving(Answer(201, told)) as script, gearbox(script.url) as caller:
        assert caller.webhooks.create("https://x").secret == "whsec_x"
        assert "whsec_x" not in repr(caller.webhooks.create("https://x"))
        assert "gbx_k" not in repr(caller) + repr(vars(caller)) + repr(caller._wire._terms)
