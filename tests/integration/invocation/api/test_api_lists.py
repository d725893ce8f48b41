from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from invocation.domain.jobs import JobState
from invocation.models import Job
from tests.integration.invocation.api.calling import Account, a_run, post, refusal, submit
from tests.integration.invocation.rows import a_job


def pages(account: Account, path: str) -> list[list[str]]:
    """Read a list to its end."""
    found: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        told = account.api.get(f"{path}&cursor={cursor}" if cursor else path).json()
        found.append([item["id"] for item in told["items"]])
        cursor = told["next"]
    return found


def test_a_list_is_read_newest_first_without_gap_or_repeat_while_jobs_arrive(account: Account) -> None:
    made = [submit(account) for _ in range(5)]
    first = account.api.get("/v1/jobs?limit=2").json()
    submit(account)
    rest = pages(account, f"/v1/jobs?limit=2&cursor={first['next']}")

    assert [item["id"] for item in first["items"]] == made[:2:-1]
    assert rest == [[made[2], made[1]], [made[0]]]


def test_an_empty_list_has_no_next(account: Account) -> None:
    assert account.api.get("/v1/jobs").json() == {"items": [], "next": None}


def test_a_list_is_filtered_by_state_and_endpoint(account: Account) -> None:
    kept, cancelled = submit(account), submit(account)
    post(account, f"/v1/jobs/{cancelled}/cancel", {})

    assert pages(account, "/v1/jobs?state=queued") == [[kept]]
    assert pages(account, "/v1/jobs?endpoint=refund@1") == [[]]
    assert Job.objects.count() == 2


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "state=asleep", "colour=red"])
def test_a_filter_that_cannot_be_is_refused(account: Account, query: str) -> None:
    assert refusal(account.api.get(f"/v1/jobs?{query}"), status=422, code="input_invalid")["field"] == "/" + query.partition("=")[0]


@pytest.mark.parametrize("cursor", ["x", "eyJ4IjoxfQ", "a:b:c"])
def test_a_made_up_cursor_is_refused(account: Account, cursor: str) -> None:
    refusal(account.api.get(f"/v1/jobs?cursor={cursor}"), status=400, code="bad_cursor")


def cursor_of(account: Account, path: str) -> Any:
    return account.api.get(path).json()["next"]


def test_a_cursor_serves_only_its_tenant_its_list_and_its_filters(account: Account, stranger: Account, now: datetime) -> None:
    for _ in range(2):
        submit(account)
        a_run("async-queue", took_ms=1, at=now, tenant_id=account.tenant_id)
    cursor = cursor_of(account, "/v1/jobs?limit=1")

    refusal(stranger.api.get(f"/v1/jobs?limit=1&cursor={cursor}"), status=400, code="bad_cursor")
    refusal(account.api.get(f"/v1/runs?cursor={cursor}"), status=400, code="bad_cursor")
    refusal(account.api.get(f"/v1/jobs?state=queued&cursor={cursor}"), status=400, code="bad_cursor")
    assert account.api.get(f"/v1/jobs?limit=5&cursor={cursor}").status_code == 200


def test_runs_are_listed_with_what_they_took(account: Account, stranger: Account, now: datetime) -> None:
    mine = a_run("async-queue", took_ms=1_250, at=now, tenant_id=account.tenant_id)
    a_run("async-queue", took_ms=1, at=now, tenant_id=stranger.tenant_id)
    (told,) = account.api.get("/v1/runs?mode=async-queue").json()["items"]

    assert (told["id"], told["duration_ms"], told["mode"]) == (str(mine.pk), 1_250, "async-queue")
    assert account.api.get("/v1/runs?mode=batch-window").json()["items"] == []
    assert len(account.api.get(f"/v1/runs?source_id={mine.source_id}").json()["items"]) == 1


def test_usage_is_empty_before_anything_was_used_and_refuses_a_span_that_cannot_be(account: Account, now: datetime) -> None:
    told = account.api.get("/v1/usage").json()
    back = (now - timedelta(days=400)).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert (told["items"], told["cost_usd"]) == ([], "0.000000")
    assert refusal(account.api.get(f"/v1/usage?since={back}"), status=422, code="input_invalid")["field"] == "/since"


def test_quota_tells_the_plan_and_what_is_in_flight(account: Account) -> None:

    a_job(JobState.WORKING, tenant_id=account.tenant_id)
    told = account.api.get("/v1/quota").json()
    in_flight = {line["priority_class"]: line["in_flight"] for line in told["classes"]}

    assert (told["plan"], told["requests_per_minute"], told["scopes"]) == ("tested-10000", 10_000, ["invoke", "manage", "read"])
    assert in_flight == {"p0": 0, "p1": 1, "p2": 0, "p3": 0}
    assert told["requests_left"] == 9_999
    assert told["streams"] == {"limit": None, "open": 0}


def test_reading_a_page_of_jobs_takes_two_queries_whatever_its_size(account: Account, django_assert_max_num_queries: Any) -> None:
    for _ in range(30):
        submit(account)
    account.api.get("/v1/quota")
    with django_assert_max_num_queries(2):
        assert len(account.api.get("/v1/jobs?limit=30").json()["items"]) == 30
