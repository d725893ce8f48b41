"""Models behind Anthropic's messages protocol, at Anthropic or at any server that speaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from agents.domain.values import ModelRequest, Piece, Reply, Usage
from agents.gateways.providers import thinking
from agents.gateways.providers.heard import FILTERED, Heard
from agents.gateways.providers.sdk import Event, Sdk
from agents.gateways.providers.turns import system_texts, turns

ANTHROPIC_URL = "https://api.anthropic.com"
FINISHES: Mapping[str, str] = MappingProxyType(
    {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "model_context_window_exceeded": "length", "refusal": FILTERED}
)


class AnthropicMessages:
    """A Provider over the `anthropic` package, whose own retries and traces are off. One object serves one event loop.

    `base_url` may end in `/v1` or not. `timeout` bounds each silence: until the first
    piece and between two; the protocol's pings are no sign of an answer and do not break it.
    """

    name = "anthropic"

    def __init__(self, *, base_url: str = "", api_key: str = "", timeout: timedelta = timedelta(seconds=20)) -> None:
        at, key = base_url.rstrip("/").removesuffix("/v1") or ANTHROPIC_URL, api_key or "none"
        self._sdk = Sdk(
            "anthropic",
            at=at,
            silence=timeout,
            make=lambda anthropic, times, http: anthropic.AsyncAnthropic(
                base_url=at, api_key=key, timeout=times, http_client=http, max_retries=0, open_telemetry=False
            ),
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Reply, None]:
        """Stream one message, as agents.domain.providers.Provider promises."""
        heard, counts = Heard(request), dict[str, Any]()
        async with aclosing(self._sdk.events("/v1/messages", _body(request))) as events:
            async for event in events:
                if text := _take(heard, event, counts):
                    yield Piece(text)
        yield heard.reply()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sdk.aclose()


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": [{"role": role.value, "content": _blocks(texts)} for role, texts in turns(request.messages)],
        "stream": True,
        **thinking.off(request.model),
    }
    system = system_texts(request.messages)
    return {**body, "system": _blocks(system)} if system else body


def _blocks(texts: list[str]) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def _take(heard: Heard, event: Event, counts: dict[str, Any]) -> str:
    """Note what an event says and return its text. `counts` are those of the beginning, under those of the end."""
    kind = event.get("type")
    if kind == "content_block_delta":
        return heard.add((event.get("delta") or {}).get("text"))
    if kind == "message_start":
        counts |= (event.get("message") or {}).get("usage") or {}
    if kind == "message_delta":
        counts |= {name: count for name, count in (event.get("usage") or {}).items() if count is not None}
        heard.usage = _usage(counts) if event.get("usage") else None
        reason = (event.get("delta") or {}).get("stop_reason") or ""
        heard.finish = FINISHES.get(reason, reason) or heard.finish
    return ""


def _usage(counts: Mapping[str, Any]) -> Usage:
    """Read the counts. What the cache held, or took in, is apart from the protocol's input and part of ours."""
    cached = counts.get("cache_read_input_tokens") or 0
    written = counts.get("cache_creation_input_tokens") or 0
    return Usage(input=(counts.get("input_tokens") or 0) + cached + written, output=counts.get("output_tokens") or 0, cached=cached)
