"""How the OpenAI-compatible provider reads servers that answer less, or other, than the simulator does."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from agents.domain.errors import ProviderDown, ProviderRateLimited, ProviderUnavailable, StreamCut
from agents.domain.providers import Provider
from agents.domain.values import Reply
from agents.gateways.providers.openai_compatible import OpenAICompatible
from agents.gateways.providers.tokens import count_messages, count_tokens
from tests.conformance.canned import SSE, Asked, answering
from tests.conformance.test_providers import ask, parts

HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello there"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def at(answer: bytes) -> AbstractAsyncContextManager[tuple[Provider, Asked]]:
    return answering(answer, lambda address: OpenAICompatible(base_url=f"{address}/v1", api_key="any"))


async def test_usage_that_was_not_reported_is_counted_and_marked_as_estimated() -> None:
    async with at(SSE + HELLO + STOP + DONE) as (provider, _):
        *_, last = await parts(provider, ask())

    assert isinstance(last, Reply)
    assert last.estimated
    assert (last.usage.input, last.usage.output) == (count_messages(ask().messages), count_tokens("Hello there"))


async def test_usage_that_was_reported_is_taken_with_its_cached_share() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":90,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":64}}}\n\n'
    async with at(SSE + HELLO + STOP + usage + DONE) as (provider, _):
        *_, last = await parts(provider, ask())

    assert isinstance(last, Reply)
    assert not last.estimated
    assert (last.usage.input, last.usage.output, last.usage.cached) == (90, 3, 64)


async def test_a_stream_that_ends_politely_but_unfinished_is_cut() -> None:
    async with at(SSE + HELLO + DONE) as (provider, _):
        with pytest.raises(StreamCut):
            await parts(provider, ask())


async def test_an_event_that_is_no_json_is_a_cut_stream() -> None:
    async with at(SSE + HELLO + b"data: {half\n\n") as (provider, _):
        with pytest.raises(StreamCut):
            await parts(provider, ask())


async def test_an_error_inside_the_stream_is_the_contracts_error() -> None:
    event = b'data: {"error":{"message":"Slow down.","type":"tokens","code":"rate_limit_exceeded"}}\n\n'
    async with at(SSE + HELLO + event) as (provider, _):
        with pytest.raises(ProviderRateLimited):
            await parts(provider, ask())


async def test_a_server_that_hangs_up_without_an_answer_is_unavailable() -> None:
    async with at(b"") as (provider, _):
        with pytest.raises(ProviderUnavailable):
            await parts(provider, ask())


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    provider = OpenAICompatible(base_url="http://127.0.0.1:1/v1", api_key="any")

    with pytest.raises(ProviderDown, match="failed"):
        await parts(provider, ask())
    await provider.aclose()
