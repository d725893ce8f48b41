from __future__ import annotations

from typing import Any

import pytest
import schemathesis
import schemathesis.specs.openapi.schemas  # while tests are collected: CPython 3.11 parses it unreliably amid garbage (gh-106905)
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS

from invocation.api.openapi import document
from invocation.api.problems import every_code
from invocation.api.urls import urlpatterns
from invocation.selectors import endpoints
from tests.integration.invocation.api.calling import Account, refusal

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    document.cache_clear()
    GENERATOR_STATS.reset()
    return document()


def operations(openapi: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{method} {path}", spec) for path, methods in openapi["paths"].items() for method, spec in methods.items()]


def test_the_document_is_valid_openapi(openapi: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(openapi).validate()

    assert openapi["openapi"].startswith("3.1")
    assert not GENERATOR_STATS


def test_every_address_of_the_api_is_described(openapi: dict[str, Any]) -> None:
    described = {path.partition("/v1/")[2].split("{")[0] for path in openapi["paths"]}
    declared = {str(pattern.pattern).split("<")[0] for pattern in urlpatterns} - {"openapi.json"}

    assert declared <= described


def test_every_operation_has_a_summary_a_name_of_its_own_and_its_problems(openapi: dict[str, Any]) -> None:
    found = operations(openapi)
    names = [spec["operationId"] for _, spec in found]
    bare = [name for name, spec in found if not spec.get("summary") or (name.startswith("get /v1/jobs") and "401" not in spec["responses"])]

    assert bare == []
    assert len(set(names)) == len(names)


def test_streams_are_described_as_event_streams(openapi: dict[str, Any]) -> None:
    for method, path in (("post", "/v1/chat"), ("get", "/v1/jobs/{job_id}/events"), ("get", "/v1/sessions/{session_id}/events")):
        assert "text/event-stream" in openapi["paths"][path][method]["responses"]["200"]["content"]


def test_no_call_waits_for_a_result(openapi: dict[str, Any]) -> None:
    words = {"wait", "block", "timeout", "sync", "poll"}
    for name, spec in operations(openapi):
        told = {each["name"] for each in spec.get("parameters", ())}
        assert not told & words, name
    for shape in openapi["components"]["schemas"].values():
        assert not set(shape.get("properties", {})) & words
    assert {"202"} == {status for status in openapi["paths"]["/v1/jobs"]["post"]["responses"] if status.startswith("2")}


def test_the_document_says_of_a_manifest_what_is_taken(openapi: dict[str, Any]) -> None:
    path, file, rows = openapi["components"]["schemas"]["BatchBody"]["properties"]["manifest"]["oneOf"]

    for told in (path, file["properties"]["path"]):
        assert (told["minLength"], told["maxLength"]) == (1, 1_000)
        assert "s3://" in told["description"]
    assert rows["properties"]["rows"]["minItems"] == 1
    assert file["properties"]["row_id"]["minLength"] == rows["properties"]["row_id"]["minLength"] == 1


def test_the_document_is_served_without_a_key(db: None) -> None:
    answer = Client().get("/v1/openapi.json")

    assert answer.status_code == 200
    assert answer.json()["info"]["title"] == "Gearbox"


def test_the_page_of_calls_shows_every_call_with_an_example(db: None, openapi: dict[str, Any]) -> None:
    page = Client().get("/docs").content.decode()

    for name, spec in operations(openapi):
        assert f'id="{spec["operationId"]}"' in page, name
    assert page.count("curl ") == len(operations(openapi))
    assert all(endpoint.label in page for endpoint in endpoints.every())


def test_the_page_of_problems_has_a_place_for_every_type(db: None) -> None:
    page = Client().get("/docs/problems").content.decode()

    assert all(f'id="{each.code}"' in page for each in every_code())


def test_the_pages_load_nothing_from_elsewhere(db: None) -> None:
    for path in ("/docs", "/docs/problems"):
        answer = Client().get(path)
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert 'src="http' not in answer.content.decode()


def test_every_endpoint_is_listed_with_its_contract(account: Account, more_endpoints: None) -> None:
    listed = {each["endpoint"]: each for each in account.api.get("/v1/endpoints").json()["items"]}
    chat = listed["chat@1"]

    assert {"chat@1", "voice@1", "personalize@1", "refund@1", "enrich@1", "retention@1", "old@1"} <= set(listed)
    assert (chat["mode"], chat["transport"], chat["sibling"]) == ("streaming-sync", "session", "personalize@1")
    assert chat["budgets"] == {"first_delta_ms": 1400, "whole_ms": 6000, "cost_usd": "0.05", "tokens": 60_000, "model_calls": 20}
    assert listed["refund@1"]["may_wait"] == ["person"]
    assert listed["old@1"]["successor"] == "few@1"
    assert account.api.get("/v1/endpoints/chat@1").json() == chat


@pytest.mark.parametrize(("label", "code"), [("chat@2", "unknown_version"), ("talk@1", "unknown_endpoint"), ("chat", "unknown_version")])
def test_an_endpoint_that_is_not_declared_is_not_found(account: Account, label: str, code: str) -> None:
    refusal(account.api.get(f"/v1/endpoints/{label}"), status=404, code=code)
