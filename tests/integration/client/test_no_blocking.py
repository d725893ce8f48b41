"""No call submits and waits: neither in the client's surface nor in what the API offers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from gearbox_client import AsyncGearbox, Gearbox, NotFound, ResultNotReady, Retries, Unreachable
from gearbox_client.groups import exchange, pages, stream
from invocation.api.openapi import document
from tests.integration.client.surface import ARGUMENTS, bound, groups, members, parameters, public, written_out
from tests.unit.client.scripted import Answer, problem, serving

BLOCKING = {"wait", "waits", "await", "block", "blocking", "timeout", "sync", "synchronous", "poll", "prefer", "run", "join", "watch"}
STREAMS = {"jobs.follow", "chat.send"}
ENDINGS = {"close", "aclose"}
EXCHANGES = sorted(name for name, member in members().items() if isinstance(member, exchange))
LISTS = sorted(name for name, member in members().items() if isinstance(member, pages))
TEMPLATE = re.compile(r"{\w+}")


def words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()))


def asked_for(name: str) -> dict[str, Any]:
    return {each: ARGUMENTS.get(each, "a-text") for each in parameters(members()[name])}


def test_the_surface_is_exchanges_lists_and_the_two_streams_and_nothing_else() -> None:
    found = {f"{group}.{name}".strip("."): member for group, kind in groups().items() for name, member in public(kind).items()}
    other = {name for name, member in found.items() if not isinstance(member, (exchange, pages, stream))}

    assert other == {"close"}
    assert {name for name, member in found.items() if isinstance(member, stream)} == STREAMS


def test_both_clients_have_one_surface() -> None:
    blocking, awaited = (set(public(kind)) - ENDINGS for kind in (Gearbox, AsyncGearbox))
    options = [inspect.signature(kind).parameters.keys() for kind in (Gearbox, AsyncGearbox)]

    assert blocking == awaited
    assert options[0] == options[1]


def test_no_call_and_no_parameter_of_the_client_is_named_for_waiting() -> None:
    told = {name: [name, *parameters(member)] for name, member in members().items()} | {"": list(inspect.signature(Gearbox).parameters)}

    assert {name for name, names in told.items() if set().union(*map(words, names)) & BLOCKING} == set()


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_call_is_one_exchange(name: str) -> None:
    with serving(problem(404, "not_found")) as script, Gearbox(script.url, "gbx_k") as gearbox:
        with pytest.raises(NotFound):
            bound(gearbox, name)(**asked_for(name))

        assert len(script.asked) == 1


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_call_ends_while_the_server_says_nothing(name: str) -> None:
    with (
        serving(Answer(hangs=True)) as script,
        Gearbox(script.url, "gbx_k", patience=timedelta(milliseconds=50), retries=Retries(most=1)) as gearbox,
        pytest.raises(Unreachable),
    ):
        bound(gearbox, name)(**asked_for(name))

    assert len(script.asked) <= 1


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_one_exchange_a_page(name: str) -> None:
    page = Answer(200, {"items": [], "next": "there"})
    with serving(page, Answer(200, {"items": [], "next": None})) as script, Gearbox(script.url, "gbx_k") as gearbox:
        assert list(bound(gearbox, name)(**asked_for(name))) == []

        assert len(script.asked) == 2


def test_a_result_that_is_not_there_is_said_at_once_and_not_asked_for_again() -> None:
    with serving(problem(404, "result_not_ready", retry_after="1")) as script, Gearbox(script.url, "gbx_k") as gearbox:
        with pytest.raises(ResultNotReady):
            gearbox.jobs.result("j")

        assert len(script.asked) == 1


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, spec in methods.items():
            yield f"{method.upper()} {path}", spec


def body_fields(spec: dict[str, Any]) -> set[str]:
    media = spec.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
    shape = document()["components"]["schemas"].get(name, {})
    return set(shape.get("properties", {}))


def test_no_operation_of_the_api_waits() -> None:
    found = {
        name: {spec["operationId"], name.partition("/v1/")[2], *(each["name"] for each in spec.get("parameters", ())), *body_fields(spec)}
        for name, spec in operations()
    }

    assert {name for name, names in found.items() if set().union(*map(words, names)) & BLOCKING} == set()


def test_only_streams_answer_with_a_stream() -> None:
    streams = {name for name, spec in operations() if "text/event-stream" in str(spec["responses"])}

    assert streams == {"POST /v1/chat", "GET /v1/jobs/{job_id}/events", "GET /v1/sessions/{session_id}/events"}


@pytest.mark.parametrize("name", ["waitForResult", "job_wait", "Prefer", "wait", "run_job"])
def test_the_walk_finds_a_call_that_waits(name: str) -> None:
    assert words(name) & BLOCKING


@pytest.mark.parametrize("name", sorted(members()))
def test_what_the_client_calls_is_what_the_api_offers(name: str) -> None:
    call = written_out(members()[name])
    call = getattr(call, "opening", call)
    found = [
        spec
        for told, spec in operations()
        if re.fullmatch(TEMPLATE.sub("[^/]+", told.replace("/v1", "/v1", 1)), f"{call.method} {call.path}")
    ]

    assert len(found) == 1, f"{call.method} {call.path}"
    assert set(call.query) <= {each["name"] for each in found[0].get("parameters", ()) if each["in"] == "query"}
    assert set(call.body or ()) <= body_fields(found[0])
