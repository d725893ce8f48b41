"""Endpoints: found by label, refused by name, and a published contract that only grows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.endpoints import Endpoint, EndpointBook, Estimate, Limits, breaks, check_estimate, check_size, contract
from invocation.domain.errors import (
    BodyTooLarge,
    EndpointRetired,
    InvocationError,
    ModeMismatch,
    TooLongForSync,
    TooManyItems,
    TooManyTokens,
    UnknownEndpoint,
    UnknownVersion,
)
from invocation.domain.modes import Mode, Transport, policy

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string", "description": "words"}, "size": {"type": "integer"}},
    "required": ["text"],
    "additionalProperties": False,
}


def estimate(value: Mapping[str, Any]) -> Estimate:
    return Estimate(duration=timedelta(seconds=value.get("seconds", 1)), tokens=value.get("tokens", 1), items=value.get("items", 1))


def endpoint(name: str = "chat", version: int = 1, mode: Mode = Mode.STREAMING_SYNC, **terms: Any) -> Endpoint:
    given_terms: dict[str, Any] = {"agent": "a", "agent_version": 1, "input_schema": SCHEMA, "output_schema": SCHEMA, "estimate": estimate}
    return Endpoint(name=name, version=version, mode=mode, **(given_terms | terms))


BOOK = EndpointBook(
    {
        each.label: each
        for each in [
            endpoint(successor="chat@2"),
            endpoint(version=2),
            endpoint("letter", mode=Mode.ASYNC_QUEUE),
            endpoint("monthly", mode=Mode.SCHEDULED_TRIGGER),
            endpoint("enrich", mode=Mode.BATCH_WINDOW),
        ]
    }
)


def test_an_endpoint_is_found_by_name_and_version() -> None:
    assert BOOK.find("chat@2") is BOOK.by_label["chat@2"]


@pytest.mark.parametrize(
    ("label", "error", "words"),
    [
        ("poem@1", UnknownEndpoint, "letter@1"),
        ("", UnknownEndpoint, "letter@1"),
        ("chat", UnknownVersion, "chat@2"),
        ("chat@3", UnknownVersion, "chat@2"),
        ("chat@1", EndpointRetired, "call chat@2"),
    ],
)
def test_what_cannot_be_called_is_refused_with_what_can(label: str, error: type[InvocationError], words: str) -> None:
    with pytest.raises(error, match=words) as refused:
        BOOK.find(label)

    assert (refused.value.facts["field"], refused.value.facts["found"]) == ("endpoint", label)


def test_a_retired_version_is_not_offered() -> None:
    with pytest.raises(UnknownEndpoint) as refused:
        BOOK.find("poem@1")

    assert "chat@1" not in refused.value.facts["known"]


@pytest.mark.parametrize("label", ["chat@2", "letter@1", "monthly@1", "enrich@1"])
@pytest.mark.parametrize("transport", Transport)
def test_an_endpoint_is_invoked_by_its_modes_call_only(label: str, transport: Transport) -> None:
    found = BOOK.by_label[label]
    if found.policy.transport is transport:
        assert BOOK.find_for(label, transport) is found
        return
    with pytest.raises(ModeMismatch) as refused:
        BOOK.find_for(label, transport)

    right = found.policy.right_call.replace("{endpoint}", label)
    assert refused.value.facts["right_call"] == right
    assert right in refused.value.detail
    assert "{" not in right


@pytest.mark.parametrize(
    ("asked", "error"),
    [({"items": 3}, TooManyItems), ({"tokens": 11}, TooManyTokens), ({"seconds": 7}, TooLongForSync)],
)
def test_what_does_not_fit_is_refused_before_any_work(asked: dict[str, int], error: type[InvocationError]) -> None:
    small = endpoint(limits=Limits(items=2, tokens=10), sibling="letter@1")
    with pytest.raises(error):
        check_estimate(small, asked)

    assert check_estimate(small, {"items": 2, "tokens": 10, "seconds": 6}).items == 2


def test_only_a_hard_deadline_refuses_what_takes_long() -> None:
    assert check_estimate(endpoint(mode=Mode.ASYNC_QUEUE), {"seconds": 1_000}).duration == timedelta(seconds=1_000)


def test_what_is_too_long_names_the_endpoint_that_takes_it() -> None:
    with pytest.raises(TooLongForSync, match="letter@1") as refused:
        check_estimate(endpoint(sibling="letter@1"), {"seconds": 60})

    assert refused.value.facts == {"found_ms": 60_000, "limit_ms": 6_000, "sibling": "letter@1"}


def test_a_body_may_be_as_large_as_its_limit_and_no_larger() -> None:
    small = endpoint(limits=Limits(body_bytes=10))
    check_size(small, 10)
    with pytest.raises(BodyTooLarge):
        check_size(small, 11)


@given(
    mode=st.sampled_from(Mode),
    seconds=st.none() | st.integers(0, 10_000),
    first=st.none() | st.integers(0, 10_000),
    usd=st.none() | st.decimals(0, 1_000, places=2),
)
def test_budgets_narrow_the_modes_and_never_widen_them(mode: Mode, seconds: int | None, first: int | None, usd: Decimal | None) -> None:
    terms = policy(mode)
    whole, first_delta = (None if length is None else timedelta(seconds=length) for length in (seconds, first))
    budgets = endpoint(mode=mode, whole=whole, first_delta=first_delta, cost_usd=usd).budgets

    assert budgets.whole == (terms.whole if whole is None else min(whole, terms.whole))
    assert budgets.first_delta == (terms.first_delta if first_delta is None else min(first_delta, terms.first_delta))
    assert budgets.cost_usd == (terms.cost_cap_usd if usd is None else min(usd, terms.cost_cap_usd))


def changed(side: str, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return the contract with one place of a schema set, or removed for None."""
    now: dict[str, Any] = json.loads(json.dumps(contract(endpoint())))
    place = now[f"{side}_schema"]
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return now


LOCKED = contract(endpoint())
BREAKING = [
    ("input", ("required",), ["text", "size"], "input 'size' became required"),
    ("input", ("properties", "size"), None, "input 'size' was removed"),
    ("input", ("properties", "text", "type"), "integer", "input 'text' changed"),
    ("input", ("properties", "text", "maxLength"), 10, "input 'text' changed"),
    ("input", ("additionalProperties",), {"type": "string"}, "input schema's 'additionalProperties' changed"),
    ("input", ("type",), "array", "input schema's 'type' changed"),
    ("input", ("minProperties",), 1, "input schema's 'minProperties' changed"),
    ("output", ("required",), [], "output 'text' is no longer promised"),
    ("output", ("properties", "text"), None, "output 'text' was removed"),
    ("output", ("properties", "size", "type"), "string", "output 'size' changed"),
    ("output", ("additionalProperties",), None, "output schema's 'additionalProperties' changed"),
]
GROWTH = [
    ("input", ("properties", "note"), {"type": "string"}),
    ("input", ("required",), []),
    ("output", ("properties", "note"), {"type": "string"}),
    ("output", ("required",), ["text", "size"]),
    ("input", ("description",), "better words"),
    ("output", ("title",), "A better title"),
    ("input", ("properties", "text", "description"), "better words"),
]


@pytest.mark.parametrize(("side", "path", "value", "why"), BREAKING)
def test_a_change_that_would_surprise_a_caller_is_a_break(side: str, path: tuple[str, ...], value: Any, why: str) -> None:
    assert breaks(LOCKED, changed(side, path, value)) == [why]


@pytest.mark.parametrize(("side", "path", "value"), GROWTH)
def test_compatible_growth_is_no_break(side: str, path: tuple[str, ...], value: Any) -> None:
    assert breaks(LOCKED, changed(side, path, value)) == []


def test_another_mode_is_another_contract() -> None:
    found = breaks(LOCKED, contract(replace(endpoint(), mode=Mode.ASYNC_QUEUE)))

    assert found == ["its mode changed from streaming-sync to async-queue", "its transport changed from session to job"]


def test_another_version_of_the_agent_is_the_same_contract() -> None:
    assert breaks(LOCKED, contract(replace(endpoint(), agent_version=2))) == []


names = st.text("abc", min_size=1, max_size=2)
properties = st.dictionaries(names, st.sampled_from([{"type": "string"}, {"type": "integer"}]), max_size=4)


@given(before=properties, added=properties, data=st.data())
def test_adding_optional_properties_never_breaks_and_taking_one_away_always_does(before: Any, added: Any, data: st.DataObject) -> None:
    required = data.draw(st.lists(st.sampled_from(sorted(before)), unique=True)) if before else []
    old = contract(endpoint(input_schema={"properties": before, "required": required}, output_schema={"properties": before}))
    grown = {"properties": added | before, "required": required}
    shrunk = {"properties": dict(sorted(before.items())[1:])}

    assert breaks(old, old) == []
    assert breaks(old, contract(endpoint(input_schema=grown, output_schema={"properties": added | before}))) == []
    if before:
        assert breaks(old, contract(endpoint(input_schema={**grown, **shrunk}, output_schema=shrunk)))
