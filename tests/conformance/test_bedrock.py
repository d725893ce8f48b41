"""How the Bedrock provider asks, and how it reads what Bedrock may answer beyond what the simulator does."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.domain.errors import ProviderDown, ProviderError, ProviderRateLimited, ProviderRefused, ProviderUnavailable, StreamCut
from agents.domain.providers import Provider
from agents.domain.values import Message, ModelRequest, Reply, Role, Usage
from agents.gateways.providers.bedrock import Bedrock
from agents.gateways.providers.tokens import count_messages, count_tokens
from agents.gateways.simulated_provider.event_stream import frame
from tests.conformance.canned import AWS, Asked, answering, whole
from tests.conformance.simulated import REGION, until
from tests.conformance.test_providers import ask, parts, reply


def event(kind: str, payload: Any) -> bytes:
    return frame({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, json.dumps(payload).encode())


def said(**delta: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})


def stop(reason: str) -> bytes:
    return event("messageStop", {"stopReason": reason})


START = event("messageStart", {"role": "assistant"})
HELLO = said(text="Hello there")
COUNTED = {"inputTokens": 20, "outputTokens": 3, "totalTokens": 93, "cacheReadInputTokens": 64, "cacheWriteInputTokens": 6}
USAGE = event("metadata", {"usage": COUNTED, "metrics": {"latencyMs": 5}})


def at(answer: bytes, *, api_key: str = "") -> AbstractAsyncContextManager[tuple[Provider, Asked]]:
    return answering(answer, lambda address: Bedrock(base_url=address, region=REGION, api_key=api_key))


async def test_the_model_is_in_the_path_the_system_apart_and_thinking_off() -> None:
    async with at(AWS + START + HELLO + stop("end_turn") + USAGE) as (provider, asked):
        await parts(provider, ask(model="global.anthropic.claude-haiku-5-5-v1:0"))

    body = json.loads(asked.body)
    assert asked.head.startswith("POST /model/global.anthropic.claude-haiku-5-5-v1%3A0/converse-stream ")
    assert body["system"] == [{"text": "You advise readers of manga."}]
    assert body["messages"][0]["content"][0]["text"].startswith("Something dark?")
    assert body["inferenceConfig"] == {"maxTokens": 512}
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}


async def test_what_is_not_needed_is_not_sent() -> None:
    async with at(AWS + START + HELLO + stop("end_turn") + USAGE) as (provider, asked):
        await parts(provider, ModelRequest(model="any", messages=(Message(Role.USER, "Hi"),), max_tokens=9))

    assert json.loads(asked.body).keys() == {"messages", "inferenceConfig"}


async def test_cached_tokens_are_a_part_of_the_input() -> None:
    async with at(AWS + START + HELLO + stop("end_turn") + USAGE) as (provider, _):
        last = await reply(provider, ask())

    assert not last.estimated
    assert last.usage == Usage(input=90, output=3, cached=64)


async def test_usage_that_was_not_reported_is_counted_and_marked_as_estimated() -> None:
    async with at(AWS + HELLO + stop("end_turn")) as (provider, _):
        last = await reply(provider, ask())

    assert last.estimated
    assert last.usage == Usage(input=count_messages(ask().messages), output=count_tokens("Hello there"))


async def test_thoughts_and_events_of_tomorrow_are_no_text() -> None:
    other = said(reasoningContent={"text": "Hm."}) + event("newsFlash", {"delta": {"text": "Extra!"}})
    async with at(AWS + START + other + HELLO + stop("end_turn") + USAGE) as (provider, _):
        *pieces, last = await parts(provider, ask())

    assert isinstance(last, Reply)
    assert (len(pieces), last.text) == (1, "Hello there")


@pytest.mark.parametrize(("reason", "finish"), [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("new", "new")])
async def test_each_reason_to_stop_has_the_contracts_word(reason: str, finish: str) -> None:
    async with at(AWS + START + HELLO + stop(reason) + USAGE) as (provider, _):
        assert (await reply(provider, ask())).finish == finish


@pytest.mark.parametrize("reason", ["content_filtered", "guardrail_intervened", "refusal"])
async def test_an_answer_that_was_withheld_is_refused(reason: str) -> None:
    async with at(AWS + START + stop(reason) + USAGE) as (provider, _):
        with pytest.raises(ProviderRefused, match="refused to answer"):
            await parts(provider, ask())


@pytest.mark.parametrize(
    "end",
    [b"", HELLO[:6], HELLO[:-7], HELLO[:-1] + b"\0", HELLO[:9] + b"\xff" + HELLO[10:]],
    ids=["between events", "inside lengths", "inside a payload", "wrong checksum", "wrong checksum of the lengths"],
)
async def test_a_stream_that_ends_or_is_damaged_before_the_model_is_done_is_cut(end: bytes) -> None:
    async with at(AWS + START + HELLO + end) as (provider, _):
        with pytest.raises(StreamCut):
            await parts(provider, ask())


async def test_an_event_may_come_in_any_number_of_pieces() -> None:
    told = START + HELLO + stop("end_turn") + USAGE
    chunked = b"".join(b"1\r\n%b\r\n" % told[place : place + 1] for place in range(len(told))) + b"0\r\n\r\n"
    head = AWS.replace(b"connection: close", b"transfer-encoding: chunked")
    async with at(head + chunked) as (provider, _):
        assert (await reply(provider, ask())).text == "Hello there"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("throttlingException", ProviderRateLimited),
        ("validationException", ProviderRefused),
        ("modelStreamErrorException", ProviderUnavailable),
        ("internalServerException", ProviderUnavailable),
    ],
)
async def test_an_exception_inside_the_stream_is_the_contracts_error(kind: str, error: type[ProviderError]) -> None:
    exception = frame({":exception-type": kind, ":message-type": "exception"}, b'{"message":"Not now."}')
    async with at(AWS + START + HELLO + exception) as (provider, _):
        with pytest.raises(error, match=r"^Not now\.$"):
            await parts(provider, ask())


async def test_an_error_of_the_stream_itself_is_the_contracts_error() -> None:
    broken = frame({":message-type": "error", ":error-code": "internal", ":error-message": "Not now."}, b"")
    async with at(AWS + START + broken) as (provider, _):
        with pytest.raises(ProviderUnavailable, match=r"^Not now\.$"):
            await parts(provider, ask())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("400 Bad Request", ProviderRefused),
        ("403 Forbidden", ProviderRefused),
        ("404 Not Found", ProviderRefused),
        ("408 Request Timeout", ProviderUnavailable),
        ("424 Failed Dependency", ProviderUnavailable),
        ("429 Too Many Requests", ProviderRateLimited),
        ("500 Internal Server Error", ProviderUnavailable),
        ("503 Service Unavailable", ProviderDown),
    ],
)
@pytest.mark.parametrize("body", [b'{"message":"Not now."}', b"Not now."], ids=["JSON", "plain"])
async def test_a_status_is_the_contracts_error_in_the_providers_own_words(status: str, body: bytes, error: type[ProviderError]) -> None:
    async with at(whole(status, body)) as (provider, _):
        with pytest.raises(error, match=r"^Not now\.$"):
            await parts(provider, ask())


async def test_an_api_key_goes_as_bearer_and_needs_no_other_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_credentials(monkeypatch)
    async with at(AWS + START + HELLO + stop("end_turn") + USAGE, api_key="abc") as (provider, asked):
        await parts(provider, ask())

    assert "authorization: bearer abc\r\n" in asked.head.lower()


async def test_temporary_credentials_bring_their_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for-an-hour")
    async with at(AWS + START + HELLO + stop("end_turn") + USAGE) as (provider, asked):
        await parts(provider, ask())

    assert "x-amz-security-token: for-an-hour\r\n" in asked.head.lower()
    assert f"/{REGION}/bedrock/aws4_request" in asked.head


async def test_credentials_that_take_their_time_stop_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program that gives them waits for a file that only this loop makes: on the loop it would wait in vain."""
    _asking(monkeypatch, tmp_path)
    (tmp_path / "given").write_text(json.dumps({"Version": 1, "AccessKeyId": "AKIASLOW", "SecretAccessKey": "x"}))
    async with at(AWS + START + HELLO + stop("end_turn") + USAGE) as (provider, asked):
        await _call_while_asked(provider, tmp_path)

    assert "Credential=AKIASLOW/" in asked.head


async def test_credentials_that_are_about_to_end_are_asked_for_again_and_stop_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _asking(monkeypatch, tmp_path)
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    async with at(AWS + START + HELLO + stop("end_turn") + USAGE) as (provider, asked):
        for name in ("AKIAFIRST", "AKIASECOND"):
            told = {"Version": 1, "AccessKeyId": name, "SecretAccessKey": "x", "SessionToken": name, "Expiration": soon}
            (tmp_path / "given").write_text(json.dumps(told))
            await _call_while_asked(provider, tmp_path)

    assert "Credential=AKIASECOND/" in asked.head


async def test_without_credentials_nothing_is_sent_and_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_credentials(monkeypatch)
    async with at(AWS) as (provider, asked):
        with pytest.raises(ProviderRefused, match="credentials") as raised:
            await parts(provider, ask())

    assert "MODEL_API_KEY" in raised.value.remedy
    assert asked.head == ""


async def test_without_a_region_nothing_is_sent_and_the_remedy_is_told() -> None:
    provider = Bedrock()

    with pytest.raises(ProviderRefused, match="region") as raised:
        await parts(provider, ask())

    assert "MODEL_REGION" in raised.value.remedy
    await provider.aclose()


async def test_a_profile_that_is_not_there_is_told_in_the_contracts_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    provider = Bedrock()

    with pytest.raises(ProviderUnavailable, match="nobody"):
        await parts(provider, ask())
    await provider.aclose()


async def test_a_server_that_hangs_up_without_an_answer_is_unavailable() -> None:
    async with at(b"") as (provider, _):
        with pytest.raises(ProviderUnavailable):
            await parts(provider, ask())


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    provider = Bedrock(base_url="http://127.0.0.1:1", region=REGION)

    with pytest.raises(ProviderDown, match="failed"):
        await parts(provider, ask())
    await provider.aclose()


def _asking(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let credentials come from a program that says that it was asked and waits, ten seconds at most, until it may go."""
    _without_credentials(monkeypatch)
    program = folder / "credentials.sh"
    waiting = "for _ in $(seq 500); do [ -e go ] && exec cat given; sleep 0.02; done; exit 1"
    program.write_text(f"#!/bin/sh\ncd {folder}\ntouch asked\n{waiting}\n")
    program.chmod(0o700)
    (folder / "config").write_text(f"[default]\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))


async def _call_while_asked(provider: Provider, folder: Path) -> None:
    """Call; let the program go once this loop has seen that it was asked."""
    call = asyncio.create_task(parts(provider, ask()))
    await until(lambda: asyncio.to_thread((folder / "asked").exists))
    (folder / "go").touch()
    await call
    for name in ("asked", "go"):
        (folder / name).unlink()


def _without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
