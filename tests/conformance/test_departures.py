"""A call's time can run out before its request has left: then the provider was not silent, and did nothing to be paid for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from agents.domain.errors import ProviderDown, ProviderError, ProviderStalled
from agents.domain.providers import Provider
from agents.gateways.providers.anthropic_messages import AnthropicMessages
from agents.gateways.providers.openai_compatible import OpenAICompatible
from tests.conformance.test_providers import ask, parts

Make = Callable[[str, timedelta], Provider]
SILENCE = timedelta(seconds=1)
BY_SDK: Mapping[str, Make] = {
    "openai": lambda url, silence: OpenAICompatible(base_url=url, timeout=silence),
    "anthropic": lambda url, silence: AnthropicMessages(base_url=url, timeout=silence),
}


@asynccontextmanager
async def mute(make: Make) -> AsyncIterator[tuple[Provider, list[bytes]]]:
    """Yield a provider at a server that reads and never answers, and what the server was sent."""
    sent: list[bytes] = []
    reading: list[asyncio.Task[None] | None] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reading.append(asyncio.current_task())
        while chunk := await reader.read(4096):
            sent.append(chunk)
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0)
    provider = make(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", SILENCE)
    async with server:
        with pytest.raises(ProviderError):
            await parts(provider, ask())  # The first call of a process does work of the SDK's own.
        sent.clear()
        yield provider, sent
        await provider.aclose()
        await asyncio.wait([task for task in reading if task])


@pytest.mark.parametrize("sdk", BY_SDK)
async def test_a_request_that_a_blocked_loop_kept_from_leaving_is_nobodys_silence(sdk: str) -> None:
    async with mute(BY_SDK[sdk]) as (provider, sent):
        crowd = [asyncio.create_task(parts(provider, ask())) for _ in range(8)]
        asyncio.get_running_loop().call_soon(time.sleep, SILENCE.total_seconds() + 0.5)
        ended = await asyncio.gather(*crowd, return_exceptions=True)

        assert {type(error) for error in ended} == {ProviderDown}
        assert not any("silent" in str(error) for error in ended)
        assert sent == []


@pytest.mark.parametrize("sdk", BY_SDK)
async def test_a_request_that_has_left_and_is_not_answered_is_the_providers_silence(sdk: str) -> None:
    async with mute(BY_SDK[sdk]) as (provider, sent):
        with pytest.raises(ProviderStalled, match="silent for 1 s"):
            await parts(provider, ask())

        assert sent
