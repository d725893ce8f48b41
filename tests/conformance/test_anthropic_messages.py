"""How the Anthropic provider asks, and how it reads what Anthropic may answer beyond what the simulator does."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest

from agents.domain.errors import ProviderDown, ProviderError, ProviderRateLimited, ProviderRefused, ProviderUnavailable, StreamCut
from agents.domain.providers import Provider
from agents.domain.values import Message, ModelRequest, Reply, Role, Usage
from agents.gateways.providers.anthropic_messages import AnthropicMessages
from agents.gateways.providers.tokens import count_messages, count_tokens
from tests.conformance.canned import SSE, Asked, answering, whole
from tests.conformance.test_providers import ask, parts, reply


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def stop(reason: str, **usage: int) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, **({"usage": usage} if usage else {})) + event("message_stop")


def delta(**fields: str) -> bytes:
    return event("content_block_delta", index=0, delta=fields)


START = event("message_start", message={"usage": {"input_tokens": 20, "cache_read_input_tokens": 64, "output_tokens": 1}})
HELLO = delta(type="text_delta", text="Hello there")


def at(answer: bytes) -> AbstractAsyncContextManager[tuple[Provider, Asked]]:
    return answering(answer, lambda address: AnthropicMessages(base_url=f"{address}/v1", api_key="any"))


async def test_the_system_stands_apart_the_bound_is_given_and_thinking_is_off() -> None:
    async with at(SSE + START + HELLO + stop("end_turn", output_tokens=3)) as (provider, asked):
        await parts(provider, ask(model="claude-sonnet-5-5", before=(Message(Role.USER, "Hi"), Message(Role.ASSISTANT, "Hello"))))

    body = json.loads(asked.body)
    assert asked.head.startswith("POST /v1/messages ")
    assert "anthropic-version:" in asked.head.lower()
    assert body["system"] == [{"type": "text", "text": "You advise readers of manga."}]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert (body["max_tokens"], body["stream"], body["thinking"]) == (512, True, {"type": "between_tools"})


async def test_a_conversation_without_a_system_names_none() -> None:
    async with at(SSE + START + HELLO + stop("end_turn", output_tokens=3)) as (provider, asked):
        await parts(provider, ModelRequest(model="any", messages=(Message(Role.USER, "Hi"),), max_tokens=9))

    assert json.loads(asked.body).keys() == {"model", "max_tokens", "messages", "stream"}


async def test_cached_tokens_are_a_part_of_the_input_and_later_counts_replace_earlier_ones() -> None:
    written = event(
        "message_start", message={"usage": {"input_tokens": 20, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 6}}
    )
    async with at(SSE + written + HELLO + stop("end_turn", output_tokens=3)) as (provider, _):
        last = await reply(provider, ask())

    assert not last.estimated
    assert last.usage == Usage(input=90, output=3, cached=64)


async def test_usage_that_was_not_reported_is_counted_and_marked_as_estimated() -> None:
    async with at(SSE + HELLO + stop("end_turn")) as (provider, _):
        last = await reply(provider, ask())

    assert last.estimated
    assert last.usage == Usage(input=count_messages(ask().messages), output=count_tokens("Hello there"))


async def test_pings_and_thoughts_are_no_text() -> None:
    thought = event("ping") + delta(type="thinking_delta", thinking="Hm.") + delta(type="signature_delta", signature="x")
    async with at(SSE + START + thought + HELLO + stop("end_turn", output_tokens=9)) as (provider, _):
        *pieces, last = await parts(provider, ask())

    assert isinstance(last, Reply)
    assert (len(pieces), last.text, last.usage.output) == (1, "Hello there", 9)


@pytest.mark.parametrize(("reason", "finish"), [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("new", "new")])
async def test_each_reason_to_stop_has_the_contracts_word(reason: str, finish: str) -> None:
    async with at(SSE + START + HELLO + stop(reason, output_tokens=3)) as (provider, _):
        assert (await reply(provider, ask())).finish == finish


async def test_a_refusal_without_a_word_is_refused() -> None:
    async with at(SSE + START + stop("refusal", output_tokens=1)) as (provider, _):
        with pytest.raises(ProviderRefused, match="refused to answer"):
            await parts(provider, ask())


@pytest.mark.parametrize(
    "end", [b"", HELLO[:-20], b"event: content_block_delta\ndata: {half\n\n"], ids=["between events", "inside one", "no JSON"]
)
async def test_a_stream_that_ends_before_the_model_is_done_is_cut(end: bytes) -> None:
    async with at(SSE + START + HELLO + end) as (provider, _):
        with pytest.raises(StreamCut):
            await parts(provider, ask())


@pytest.mark.parametrize(
    ("kind", "error"),
    [("overloaded_error", ProviderDown), ("api_error", ProviderUnavailable), ("rate_limit_error", ProviderRateLimited)],
)
async def test_an_error_event_inside_the_stream_is_the_contracts_error(kind: str, error: type[ProviderError]) -> None:
    async with at(SSE + START + HELLO + event("error", error={"type": kind, "message": "Not now."})) as (provider, _):
        with pytest.raises(error, match=r"^Not now\.$"):
            await parts(provider, ask())


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        ("400 Bad Request", "invalid_request_error", ProviderRefused),
        ("401 Unauthorized", "authentication_error", ProviderRefused),
        ("413 Too Large", "request_too_large", ProviderRefused),
        ("429 Too Many Requests", "rate_limit_error", ProviderRateLimited),
        ("500 Internal Server Error", "api_error", ProviderUnavailable),
        ("529 Overloaded", "overloaded_error", ProviderDown),
    ],
)
async def test_a_status_is_the_contracts_error_in_the_providers_own_words(status: str, kind: str, error: type[ProviderError]) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": "Not now."}}).encode()
    async with at(whole(status, body, "retry-after: 7")) as (provider, _):
        with pytest.raises(error, match=r"^Not now\.$") as raised:
            await parts(provider, ask())

    assert raised.value.retry_after == (timedelta(seconds=7) if raised.value.retryable else None)


async def test_a_server_that_hangs_up_without_an_answer_is_unavailable() -> None:
    async with at(b"") as (provider, _):
        with pytest.raises(ProviderUnavailable):
            await parts(provider, ask())


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    provider = AnthropicMessages(base_url="http://127.0.0.1:1", api_key="any")

    with pytest.raises(ProviderDown, match="failed"):
        await parts(provider, ask())
    await provider.aclose()
