"""The simulated provider's HTTP: what OpenAI's clients rely on beyond the provider's contract."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from agents.domain.errors import ProviderRateLimited, ProviderRefused
from agents.domain.providers import Provider
from agents.gateways.providers.lengths import LENGTHS, OFFLINE_STANDARD
from agents.gateways.providers.openai_compatible import OpenAICompatible
from tests.conformance.simulated import KEY, PACE, serving
from tests.conformance.test_providers import ask, parts, reply

BODY: dict[str, Any] = {"model": OFFLINE_STANDARD, "messages": [{"role": "user", "content": "Something dark?"}]}


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serving(*PACE) as url:
        yield url


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False) as made:
        yield made


async def test_the_models_are_listed(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/models")).json()

    assert [model["id"] for model in listed["data"]] == list(LENGTHS)


async def test_a_streamed_answer_is_the_plain_one_in_events(client: httpx.AsyncClient) -> None:
    plain = (await client.post("/chat/completions", json=BODY)).json()
    streamed = await client.post("/chat/completions", json={**BODY, "stream": True, "stream_options": {"include_usage": True}})

    events = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line]
    chunks = [json.loads(event) for event in events[:-1]]
    assert events[-1] == "[DONE]"
    assert "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]) == _text(plain)
    assert chunks[-1]["usage"] == plain["usage"]


async def test_usage_is_streamed_only_when_it_is_asked_for(client: httpx.AsyncClient) -> None:
    streamed = await client.post("/chat/completions", json={**BODY, "stream": True})

    assert '"usage"' not in streamed.text


async def test_a_content_may_come_in_parts(client: httpx.AsyncClient) -> None:
    parted = {"role": "user", "content": [{"type": "text", "text": "Something "}, {"type": "text", "text": "dark?"}]}

    whole, joined = (
        await client.post("/chat/completions", json=BODY),
        await client.post("/chat/completions", json={**BODY, "messages": [parted]}),
    )

    assert _text(whole.json()) == _text(joined.json())


async def test_a_wrong_key_is_refused(base_url: str) -> None:
    stranger = OpenAICompatible(base_url=base_url, api_key="wrong")

    with pytest.raises(ProviderRefused, match="API key"):
        await parts(stranger, ask())
    await stranger.aclose()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"messages":[{"role":"user","content":"hi"}]}', "model"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":[{"role":"bot","content":"hi"}]}', "messages[0].role"),
        (b'{"model":"m","messages":[{"role":"user","content":5}]}', "messages[0].content"),
        (b'{"model":"m","max_tokens":-1,"messages":[{"role":"user","content":"hi"}]}', "max_tokens"),
    ],
)
async def test_a_bad_body_is_refused_and_the_field_is_named(client: httpx.AsyncClient, body: bytes, param: str | None) -> None:
    answer = await client.post("/chat/completions", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_a_body_over_the_limit_is_refused_unread(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", content=b"x" * (1024 * 1024 + 1))

    assert answer.status_code == 413


async def test_what_is_no_request_is_answered_and_the_connection_ends(base_url: str) -> None:
    host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    writer.write(b"good morning\r\n\r\n")

    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()


async def test_requests_that_come_together_on_one_connection_are_answered_in_turn(base_url: str) -> None:
    host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    request = f"GET %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n"

    writer.write((request % "/stats" + request % "/v1/models").encode())

    first, second = [await _one_answer(reader) for _ in range(2)]
    assert "calls" in first
    assert second["object"] == "list"
    writer.close()
    await writer.wait_closed()


async def test_the_limit_on_tokens_a_minute_is_real() -> None:
    with serving(*PACE, "--tpm", "500") as base_url:
        provider = OpenAICompatible(base_url=base_url, api_key=KEY)
        taken: list[int] = []
        with pytest.raises(ProviderRateLimited) as raised:
            await _spend(provider, taken)
        await provider.aclose()

    assert 0 < sum(taken) <= 500
    assert raised.value.retry_after is not None
    assert 0 < raised.value.retry_after.total_seconds() <= 60


async def _spend(provider: Provider, taken: list[int]) -> None:
    """Ask until the provider refuses, at most ten times, and note the tokens of each answer."""
    for number in range(10):
        answer = await reply(provider, ask(f"Question {number}"))
        taken.append(answer.usage.total)


def _text(completion: dict[str, Any]) -> str:
    return str(completion["choices"][0]["message"]["content"])


async def _one_answer(reader: asyncio.StreamReader) -> dict[str, Any]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.decode().splitlines() if line.startswith("content-length"))
    found: dict[str, Any] = json.loads(await reader.readexactly(int(length.partition(":")[2])))
    return found
