"""The simulated provider as a process of its own, and a look at its counts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx

from agents.domain.providers import Provider
from agents.gateways.providers.anthropic_messages import AnthropicMessages
from agents.gateways.providers.bedrock import Bedrock
from agents.gateways.providers.openai_compatible import OpenAICompatible

ROOT = Path(__file__).resolve().parents[2]
KEY = "conformance"
REGION = "us-east-1"
PATIENCE = timedelta(seconds=20)
PACE = ("--first-token-ms", "20", "--token-ms", "4", "--capacity", "8")


class Make(Protocol):
    def __call__(self, base_url: str, /, *, timeout: timedelta = ...) -> Provider: ...


def _openai(base_url: str, /, *, timeout: timedelta = PATIENCE) -> Provider:
    return OpenAICompatible(base_url=base_url, api_key=KEY, timeout=timeout)


def _anthropic(base_url: str, /, *, timeout: timedelta = PATIENCE) -> Provider:
    return AnthropicMessages(base_url=base_url, api_key=KEY, timeout=timeout)


def _bedrock(base_url: str, /, *, timeout: timedelta = PATIENCE) -> Provider:
    return Bedrock(base_url=root(base_url), region=REGION, timeout=timeout)


OVER_HTTP: Mapping[str, Make] = {"openai": _openai, "anthropic": _anthropic, "bedrock": _bedrock}


def root(base_url: str) -> str:
    """Return the server's address without the version in its path."""
    return base_url.removesuffix("/v1")


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """Run the server on a free port and yield its base URL; end it by SIGTERM."""
    argv = [sys.executable, "manage.py", "simulate_provider", "--port", "0", "--api-key", KEY, *options]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("listening on "), f"the simulated provider did not start: {line!r}"
            yield line.removeprefix("listening on ").strip()
        finally:
            server.terminate()
            server.wait(timeout=10)


async def stats(base_url: str) -> dict[str, int]:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, trust_env=False) as client:
        answer = await client.get(root(base_url) + "/stats")
    found: dict[str, int] = answer.raise_for_status().json()
    return found


async def until(condition: Callable[[], Awaitable[Any]], *, limit_s: float = 10.0) -> None:
    """Poll a condition until it is true; fail after the limit."""
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110  (the condition is another process's)
            await asyncio.sleep(0.02)
