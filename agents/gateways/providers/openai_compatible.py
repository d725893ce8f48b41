"""Models behind OpenAI's chat completions protocol, at OpenAI or at any server that speaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from agents.domain.values import ModelRequest, Piece, Reply, Usage
from agents.gateways.providers.heard import Heard
from agents.gateways.providers.sdk import Event, Sdk

OPENAI_URL = "https://api.openai.com/v1"


class OpenAICompatible:
    """A Provider over the `openai` package, whose own retries are off. One object serves one event loop.

    `timeout` bounds each silence: until the first piece and between two. `limit_field`
    names the field that bounds the answer: OpenAI's newer models refuse the older
    `max_tokens`, many other servers know only that.
    """

    name = "openai"

    def __init__(
        self, *, base_url: str = "", api_key: str = "", timeout: timedelta = timedelta(seconds=20), limit_field: str | None = None
    ) -> None:
        self._limit_field = limit_field or ("max_tokens" if base_url else "max_completion_tokens")
        at, key = base_url or OPENAI_URL, api_key or "none"
        self._sdk = Sdk(
            "openai",
            at=at,
            silence=timeout,
            make=lambda openai, times, http: openai.AsyncOpenAI(base_url=at, api_key=key, timeout=times, http_client=http, max_retries=0),
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Reply, None]:
        """Stream one completion, as agents.domain.providers.Provider promises."""
        heard = Heard(request)
        async with aclosing(self._sdk.events("/chat/completions", self._body(request))) as chunks:
            async for chunk in chunks:
                if text := _take(heard, chunk):
                    yield Piece(text)
        yield heard.reply()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sdk.aclose()

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        return {
            "model": request.model,
            "messages": [{"role": message.role.value, "content": message.text} for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            self._limit_field: request.max_tokens,
        }


def _take(heard: Heard, chunk: Event) -> str:
    """Note what a chunk says and return its text."""
    if chunk.get("usage"):
        heard.usage = _usage(chunk["usage"])
    choices = chunk.get("choices")
    if not choices:
        return ""
    heard.finish = choices[0].get("finish_reason") or heard.finish
    return heard.add((choices[0].get("delta") or {}).get("content"))


def _usage(reported: Mapping[str, Any]) -> Usage:
    cached = (reported.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(input=reported.get("prompt_tokens", 0), output=reported.get("completion_tokens", 0), cached=cached)
