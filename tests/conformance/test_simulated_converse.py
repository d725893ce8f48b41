"""The simulated provider as AWS's own client sees it: its framing, its checksums, its signatures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from agents.domain.errors import ProviderRateLimited, ProviderRefused
from agents.domain.values import Message, ModelRequest, Role
from agents.gateways.providers.lengths import OFFLINE_STANDARD
from agents.gateways.providers.simulator import OfflineSimulator
from tests.conformance.simulated import KEY, OVER_HTTP, PACE, REGION, root, serving, stats, until
from tests.conformance.test_providers import ask, parts, reply


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serving(*PACE) as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[Any]:
    with closing(_client(base_url)) as made:
        yield made


def _client(base_url: str, *, secret: str = KEY) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=root(base_url),
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def conversation(text: str = "Something dark?", **more: Any) -> dict[str, Any]:
    asked = ask(text)
    return {
        "modelId": OFFLINE_STANDARD,
        "system": [{"text": asked.messages[0].text}],
        "messages": [{"role": "user", "content": [{"text": asked.messages[1].text}]}],
        "inferenceConfig": {"maxTokens": 512},
        **more,
    }


def events(client: Any, **asked: Any) -> list[dict[str, Any]]:
    return list(client.converse_stream(**asked)["stream"])


def test_the_stream_is_read_by_awss_own_client(client: Any) -> None:
    expected = OfflineSimulator().reply(ask())

    told = events(client, **conversation())

    kinds = [next(iter(event)) for event in told]
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in told[1:-3]]
    usage = told[-1]["metadata"]["usage"]
    assert (kinds[0], kinds[-3:]) == ("messageStart", ["contentBlockStop", "messageStop", "metadata"])
    assert "".join(deltas) == expected.text
    assert told[-2]["messageStop"]["stopReason"] == "end_turn"
    assert (usage["inputTokens"], usage["outputTokens"], usage["totalTokens"]) == (
        expected.usage.input,
        expected.usage.output,
        expected.usage.total,
    )


def test_max_tokens_is_the_reason_of_a_cut_answer(client: Any) -> None:
    told = events(client, **conversation(inferenceConfig={"maxTokens": 10}))

    assert told[-2]["messageStop"]["stopReason"] == "max_tokens"


@pytest.mark.parametrize(
    ("text", "more", "code"),
    [
        ("[[fault:429]]", {}, "ThrottlingException"),
        ("[[fault:500]]", {}, "InternalServerException"),
        ("[[fault:529]]", {}, "ServiceUnavailableException"),
        ("", {"modelId": "anthropic.claude-4"}, "ResourceNotFoundException"),
        ("", {"modelId": "arn:aws:bedrock:us-east-1:123456789012:inference-profile/mine"}, "ResourceNotFoundException"),
        ("", {"messages": [{"role": "assistant", "content": [{"text": "Hi"}]}]}, "ValidationException"),
    ],
)
def test_each_refusal_has_the_protocols_code(client: Any, text: str, more: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as raised:
        client.converse_stream(**conversation(text, **more))

    assert raised.value.response["Error"]["Code"] == code


def test_an_exception_breaks_a_stream_that_has_begun(client: Any) -> None:
    with closing(client.converse_stream(**conversation("[[fault:break]]"))["stream"]) as stream:
        told = iter(stream)
        heard = [next(told) for _ in range(5)]

        with pytest.raises(EventStreamError, match="within the stream"):
            list(told)

    assert "contentBlockDelta" in heard[-1]


async def test_closing_the_stream_ends_the_call_there(client: Any, base_url: str) -> None:
    before = (await stats(base_url))["cancelled"]

    stream = (await asyncio.to_thread(lambda: client.converse_stream(**conversation("[[fault:slow]]"))))["stream"]
    stream.close()

    await until(lambda: _has_cancelled(base_url, before + 1))


def test_a_signature_with_another_secret_is_refused(base_url: str) -> None:
    with closing(_client(base_url, secret="wrong")) as stranger, pytest.raises(ClientError) as raised:
        stranger.converse_stream(**conversation())

    assert raised.value.response["Error"]["Code"] == "InvalidSignatureException"


async def test_an_unknown_access_key_is_refused(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASOMEBODYELSE")
    stranger = OVER_HTTP["bedrock"](base_url)

    with pytest.raises(ProviderRefused, match="security token"):
        await parts(stranger, ask())
    await stranger.aclose()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"authorization": "Bearer wrong"}, 403),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": "AWS4-HMAC-SHA256 x"}, 403),
    ],
)
async def test_who_does_not_prove_to_know_the_key_is_refused(base_url: str, headers: dict[str, str], status: int) -> None:
    asked = conversation()
    body = {name: asked[name] for name in ("system", "messages", "inferenceConfig")}
    async with httpx.AsyncClient(base_url=root(base_url), headers=headers, trust_env=False) as client:
        answer = await client.post(f"/model/{OFFLINE_STANDARD}/converse-stream", json=body)

    assert answer.status_code == status


async def test_a_body_that_was_changed_on_its_way_is_refused(base_url: str) -> None:
    access = OVER_HTTP["bedrock"](base_url)._access  # type: ignore[attr-defined]
    url = f"{root(base_url)}/model/{OFFLINE_STANDARD}/converse-stream"
    headers = await access.headers(url, b"{}", {"content-type": "application/json"})

    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(url, content=b"[]", headers=headers)

    assert answer.headers["x-amzn-errortype"] == "InvalidSignatureException"


async def test_neighbours_of_one_role_are_sent_as_one_turn(base_url: str) -> None:
    provider = OVER_HTTP["bedrock"](base_url)
    said = (Message(Role.USER, "One. "), Message(Role.USER, "Two."))

    last = await reply(provider, ModelRequest(model=OFFLINE_STANDARD, messages=said, max_tokens=99))

    joined = ModelRequest(model=OFFLINE_STANDARD, messages=(Message(Role.USER, "One. Two."),), max_tokens=99)
    assert last == OfflineSimulator().reply(joined)
    await provider.aclose()


async def test_the_limit_on_tokens_a_minute_is_one_for_all_protocols() -> None:
    with serving(*PACE, "--tpm", "700") as limited:
        providers = [make(limited) for make in OVER_HTTP.values()]
        taken = [await reply(provider, ask(f"Question {number}")) for number, provider in enumerate(providers)]
        for provider in providers:
            with pytest.raises(ProviderRateLimited):
                await _spend(provider)
        counted = await stats(limited)
        for provider in providers:
            await provider.aclose()

    assert sum(answer.usage.total for answer in taken) <= counted["input_tokens"] + counted["output_tokens"] <= 700
    assert counted["rate_limited"] == len(providers)


async def _spend(provider: Any) -> None:
    for number in range(10):
        await reply(provider, ask(f"Again {number}"))


async def _has_cancelled(base_url: str, count: int) -> bool:
    return (await stats(base_url))["cancelled"] == count
