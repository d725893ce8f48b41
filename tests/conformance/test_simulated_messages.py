"""The simulated provider as Anthropic's own client sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from anthropic import APIStatusError, AsyncAnthropic, AuthenticationError, NotFoundError, OverloadedError, RateLimitError

from agents.gateways.providers.lengths import OFFLINE_STANDARD
from agents.gateways.providers.simulator import OfflineSimulator
from tests.conformance.simulated import KEY, PACE, root, serving, stats, until
from tests.conformance.test_providers import ask

QUESTION: dict[str, Any] = {"model": OFFLINE_STANDARD, "max_tokens": 512}
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serving(*PACE, "--retry-after-s", "7") as url:
        yield url


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=root(base_url), api_key=KEY, max_retries=0, open_telemetry=False) as made:
        yield made


@pytest.fixture
async def plain(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, headers=HEADERS, trust_env=False) as made:
        yield made


def conversation(text: str = "Something dark?") -> dict[str, Any]:
    asked = ask(text)
    return {**QUESTION, "system": asked.messages[0].text, "messages": [{"role": "user", "content": asked.messages[1].text}]}


async def test_a_message_is_whole_and_typed(client: AsyncAnthropic) -> None:
    expected = OfflineSimulator().reply(ask())

    message = await client.messages.create(**conversation())

    assert [block.text for block in message.content if block.type == "text"] == [expected.text]
    assert (message.stop_reason, message.model) == ("end_turn", OFFLINE_STANDARD)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (expected.usage.input, expected.usage.output)


async def test_a_streamed_message_is_put_together_to_the_plain_one(client: AsyncAnthropic) -> None:
    whole = await client.messages.create(**conversation())

    async with client.messages.stream(**conversation()) as stream:
        texts = [text async for text in stream.text_stream]
        final = await stream.get_final_message()

    assert len(texts) > 20
    assert "".join(texts) == "".join(block.text for block in whole.content if block.type == "text")
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


async def test_the_events_come_in_the_protocols_order(plain: httpx.AsyncClient) -> None:
    streamed = await plain.post("/messages", json={**conversation(), "stream": True})

    names = [line.removeprefix("event: ") for line in streamed.text.splitlines() if line.startswith("event: ")]
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_max_tokens_is_the_reason_of_a_cut_answer(client: AsyncAnthropic) -> None:
    assert (await client.messages.create(**{**conversation(), "max_tokens": 10})).stop_reason == "max_tokens"


@pytest.mark.parametrize(
    ("text", "error", "kind"),
    [
        ("[[fault:429]]", RateLimitError, "rate_limit_error"),
        ("[[fault:529]]", OverloadedError, "overloaded_error"),
        ("[[fault:500]]", APIStatusError, "api_error"),
    ],
)
async def test_each_fault_has_the_protocols_status_and_type(
    client: AsyncAnthropic, text: str, error: type[APIStatusError], kind: str
) -> None:
    with pytest.raises(error) as raised:
        await client.messages.create(**conversation(text))

    assert raised.value.type == kind
    assert raised.value.response.headers.get("retry-after") == ("7" if error is RateLimitError else None)


async def test_an_error_event_breaks_a_stream_that_has_begun(client: AsyncAnthropic) -> None:
    heard: list[str] = []

    with pytest.raises(APIStatusError) as raised:
        await _listen(client, conversation("[[fault:break]]"), heard)

    assert heard
    assert (raised.value.status_code, raised.value.type) == (200, "api_error")


async def test_closing_the_stream_ends_the_call_there(client: AsyncAnthropic, base_url: str) -> None:
    before = (await stats(base_url))["cancelled"]

    async with client.messages.stream(**conversation("[[fault:slow]]")) as stream:
        await anext(aiter(stream))

    await until(lambda: _has_cancelled(base_url, before + 1))


async def test_an_unknown_model_is_not_found(client: AsyncAnthropic) -> None:
    with pytest.raises(NotFoundError) as raised:
        await client.messages.create(**{**conversation(), "model": "claude-4"})

    assert raised.value.type == "not_found_error"


async def test_a_wrong_key_is_no_key(base_url: str) -> None:
    async with AsyncAnthropic(base_url=root(base_url), api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.messages.create(**conversation())


@pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
async def test_the_key_is_taken_in_either_header(base_url: str, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
        answer = await client.post("/messages", json=conversation(), headers={"anthropic-version": "2023-06-01", **headers})

    assert answer.status_code == 200


async def test_a_version_must_be_named(base_url: str) -> None:
    async with httpx.AsyncClient(base_url=base_url, headers={"x-api-key": KEY}, trust_env=False) as client:
        answer = await client.post("/messages", json=conversation())

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, "messages[0].role"),
        ({"system": 5}, "system"),
        ({"model": ""}, "model"),
    ],
)
async def test_a_bad_body_is_refused_and_the_field_is_named(plain: httpx.AsyncClient, wrong: dict[str, Any], field: str) -> None:
    answer = await plain.post("/messages", json={**conversation(), **wrong})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{field}: ")


async def _listen(client: AsyncAnthropic, asked: dict[str, Any], heard: list[str]) -> None:
    async with client.messages.stream(**asked) as stream:
        async for text in stream.text_stream:
            heard.append(text)  # noqa: PERF401  (what came before the error is what counts)


async def _has_cancelled(base_url: str, count: int) -> bool:
    return (await stats(base_url))["cancelled"] == count
