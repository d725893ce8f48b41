from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from invocation.models import Batch, Job, Schedule, Turn
from quota.domain.callers import Scope
from quota.models import ApiKey, Tenant
from quota.services import keys
from tests.integration.invocation.api.calling import Account, open_account, post, refusal

JOB = {"endpoint": "personalize@1", "input": {"text": "new?"}}


def nothing_started() -> bool:
    return not any(table.objects.exists() for table in (Job, Turn, Batch, Schedule))


def test_a_call_without_a_key_is_challenged(db: None) -> None:
    answer = APIClient().get("/v1/jobs")

    refusal(answer, status=401, code="bad_key")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Basic abc", "Bearer gbx_abcdefgh_" + "x" * 43])
def test_a_bad_key_is_refused(db: None, header: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header)

    refusal(client.post("/v1/jobs", JOB, format="json"), status=401, code="bad_key")
    assert nothing_started()


def test_a_revoked_key_is_refused_by_its_own_name(account: Account) -> None:
    keys.revoke(account.key.split("_")[1], now=datetime.now(UTC))

    refusal(post(account, "/v1/jobs", JOB), status=401, code="key_revoked")
    assert nothing_started()


def test_the_key_of_a_closed_tenant_is_refused(account: Account) -> None:
    Tenant.objects.filter(pk=account.tenant_id).update(is_active=False)

    refusal(account.api.get("/v1/jobs"), status=401, code="bad_key")


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        (Scope.READ, "post", "/v1/jobs"),
        (Scope.READ, "post", "/v1/tickets"),
        (Scope.INVOKE, "get", "/v1/jobs"),
        (Scope.INVOKE, "post", "/v1/schedules"),
        (Scope.MANAGE, "get", "/v1/usage"),
    ],
)
def test_a_key_without_the_scope_is_refused(db: None, scope: Scope, method: str, path: str) -> None:
    client = open_account(scopes=[scope]).api

    refusal(getattr(client, method)(path, JOB, format="json"), status=403, code="scope_missing")


@pytest.mark.parametrize(
    ("path", "endpoint", "answer"),
    [
        ("/v1/jobs", "nobody@1", (404, "unknown_endpoint")),
        ("/v1/jobs", "personalize", (404, "unknown_version")),
        ("/v1/jobs", "personalize@9", (404, "unknown_version")),
        ("/v1/jobs", "chat@1", (422, "mode_mismatch")),
        ("/v1/jobs", "enrich@1", (422, "mode_mismatch")),
        ("/v1/jobs", "retention@1", (422, "mode_mismatch")),
        ("/v1/jobs", "old@1", (410, "endpoint_retired")),
        ("/v1/batches", "personalize@1", (422, "mode_mismatch")),
        ("/v1/schedules", "personalize@1", (422, "mode_mismatch")),
        ("/v1/schedules", "nobody@1", (404, "unknown_endpoint")),
    ],
)
def test_an_endpoint_that_cannot_be_called_so_is_named(
    account: Account, more_endpoints: None, path: str, endpoint: str, answer: tuple[int, str]
) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/jobs": {"input": {"text": "x"}},
        "/v1/batches": {"manifest": {"rows": [{"title": "monster"}]}},
        "/v1/schedules": {"name": "n", "cron": "0 9 * * 1", "input": {"reader": "r-001"}},
    }
    told = refusal(post(account, path, {"endpoint": endpoint, **bodies[path]}), status=answer[0], code=answer[1])

    assert told["found"] == endpoint
    assert nothing_started()


def test_a_mode_mismatch_names_the_right_call_and_a_retired_version_its_successor(account: Account, more_endpoints: None) -> None:
    mismatch = post(account, "/v1/jobs", {"endpoint": "chat@1", "input": {"text": "x"}}).json()
    retired = post(account, "/v1/jobs", {"endpoint": "old@1", "input": {"titles": []}}).json()

    assert mismatch["right_call"] == "POST /v1/chat, or WebSocket /ws/chat/chat@1"
    assert retired["successor"] == "few@1"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"endpoint": "personalize@1"}, "/input"),
        ({"input": {}}, "/endpoint"),
        ({**JOB, "endpont": "x"}, "/endpont"),
        ({**JOB, "endpoint": 3.5}, "/endpoint"),
        ({**JOB, "locale": None}, "/locale"),
        ({**JOB, "input": "text"}, "/input"),
        ({**JOB, "input": {"text": 3}}, "/input/text"),
        ({**JOB, "input": {"text": ""}}, "/input/text"),
        ({**JOB, "input": {"txt": "x"}}, "/input/txt"),
        ({**JOB, "input": {"text": "a\0b"}}, "/input/text"),
        ({"endpoint": "refund@1", "input": {"text": "x"}}, "/input/order"),
        ({**JOB, "budget": {"cost_usd": -1}}, "/budget/cost_usd"),
        ({**JOB, "budget": {"usd": 1}}, "/budget/usd"),
        ({**JOB, "metadata": {"a": {}}}, "/metadata/a"),
        ({**JOB, "subject": "s" * 201}, "/subject"),
        ({**JOB, "expires_at": "tomorrow"}, "/expires_at"),
        ({**JOB, "expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
        ({**JOB, "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ([], "/"),
        ("text", "/"),
    ],
)
def test_an_invalid_field_is_named(account: Account, body: Any, field: str) -> None:
    told = refusal(post(account, "/v1/jobs", body), status=422, code="input_invalid")

    assert told["field"] == field
    assert nothing_started()


@pytest.mark.parametrize("raw", ["{", '{"endpoint": NaN}', "\udcff".encode("utf-8", "surrogateescape"), "[" * 5_000])
def test_a_body_that_is_not_json_is_refused(account: Account, raw: Any) -> None:
    answer = account.api.post("/v1/jobs", raw, content_type="application/json")

    refusal(answer, status=400, code="bad_json")


def test_another_media_type_is_refused(account: Account) -> None:
    refusal(
        account.api.post("/v1/jobs", "endpoint=x", content_type="application/x-www-form-urlencoded"),
        status=415,
        code="unsupported_media_type",
    )


def test_a_method_that_an_address_does_not_take_is_refused(account: Account) -> None:
    refusal(account.api.delete("/v1/jobs"), status=405, code="method_not_allowed")
    refusal(account.api.get("/v1/nothing/here"), status=404, code="not_found")


def test_a_body_above_the_endpoints_limit_is_refused(account: Account) -> None:
    body = {"endpoint": "personalize@1", "input": {"text": "x"}, "metadata": {f"m{i}": "y" * 490 for i in range(16)}}
    padded = json.dumps(body) + " " * 70_000
    told = refusal(account.api.post("/v1/jobs", padded, content_type="application/json"), status=413, code="body_too_large")

    assert told["limit"] == 65_536
    assert nothing_started()


def test_a_body_above_a_mebibyte_is_refused_unread(account: Account) -> None:
    told = refusal(account.api.post("/v1/jobs", b" " * 1_100_000, content_type="application/json"), status=413, code="body_too_large")

    assert told["limit"] == 1_048_576
    assert str(told["limit"]) in told["detail"]


def test_what_an_endpoint_does_not_take_is_refused_with_the_limit(account: Account, more_endpoints: None) -> None:
    many = refusal(post(account, "/v1/jobs", {"endpoint": "few@1", "input": {"titles": ["a"] * 6}}), status=422, code="too_many_items")
    long = refusal(post(account, "/v1/jobs", {"endpoint": "few@1", "input": {"titles": ["a" * 51]}}), status=422, code="too_many_tokens")

    assert (many["found"], many["limit"]) == (6, 5)
    assert (long["found"], long["limit"]) == (51, 50)
    assert nothing_started()


def test_a_full_minute_is_429_with_a_time_to_come_back(db: None) -> None:
    client = open_account(a_minute=2).api
    first = client.get("/v1/quota")
    client.get("/v1/quota")
    answer = client.get("/v1/quota")

    told = refusal(answer, status=429, code="rate_exceeded")
    assert first.headers["RateLimit-Policy"] == '"minute";q=2;w=60'
    assert first.headers["RateLimit"].startswith('"minute";r=1;t=')
    assert 1 <= int(answer.headers["Retry-After"]) == told["retry_after_s"] <= 120
    assert answer.headers["RateLimit"].startswith('"minute";r=0;t=')


def test_a_refused_call_counts_in_the_minute(db: None) -> None:
    account = open_account(a_minute=2)
    for _ in range(2):
        post(account, "/v1/jobs", {})

    refusal(post(account, "/v1/jobs", JOB), status=429, code="rate_exceeded")


@pytest.mark.parametrize(
    ("manifest", "line", "field"),
    [
        ({"rows": [{"title": "monster"}, {"titel": "x"}]}, 2, "/titel"),
        ({"rows": [{"row_id": "a", "title": "monster"}, {"row_id": "a", "title": "happy"}]}, 2, "/row_id"),
        ({"rows": [{"row_id": 7.5, "title": "monster"}]}, 1, "/row_id"),
    ],
)
def test_a_broken_row_is_named_by_its_line_and_nothing_starts(account: Account, manifest: Any, line: int, field: str) -> None:
    told = refusal(post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": manifest}), status=422, code="manifest_invalid")

    assert (told["line"], told["field"]) == (line, field)
    assert nothing_started()


@pytest.mark.parametrize("manifest", ["../../etc/passwd", "nowhere.jsonl", "/etc/passwd"])
def test_a_manifest_that_is_not_the_tenants_is_refused(account: Account, manifest: str) -> None:
    told = refusal(post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": manifest}), status=422, code="manifest_invalid")

    assert told["found"] == manifest


@pytest.mark.parametrize("manifest", [{"rows": []}, {"rows": [], "more": 1}, {}, 7, ""])
def test_a_manifest_is_a_path_or_rows(account: Account, manifest: Any) -> None:
    told = refusal(post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": manifest}), status=422, code="input_invalid")

    assert told["field"] == "/manifest"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"cron": "0 99 * * 1"}, "/cron"),
        ({"timezone": "Mars/Base"}, "/timezone"),
        ({"input": {"reader": "nobody"}}, "/input/reader"),
        ({"name": ""}, "/name"),
    ],
)
def test_a_schedule_that_would_never_fire_well_is_refused(account: Account, changed: dict[str, Any], field: str) -> None:
    body = {"name": "n", "endpoint": "retention@1", "cron": "0 9 * * 1", "timezone": "UTC", "input": {"reader": "r-001"}, **changed}

    assert refusal(post(account, "/v1/schedules", body), status=422, code="input_invalid")["field"] == field
    assert nothing_started()


def test_a_key_is_never_told_back(account: Account) -> None:
    answers = [account.api.get(path) for path in ("/v1/quota", "/v1/nothing", f"/v1/jobs/{uuid4()}")]

    assert ApiKey.objects.filter(tenant_id=account.tenant_id).exists()
    assert not any(account.key.rpartition("_")[2] in answer.content.decode() for answer in answers)
