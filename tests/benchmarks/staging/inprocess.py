"""What a chat is compared with: the same model streamed straight out of the process that serves HTTP, as Server-Sent Events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

import orjson

from agents.domain.values import ModelRequest, Piece
from agents.gateways.providers.lengths import OFFLINE_STANDARD
from agents.gateways.providers.pacing import Pacing
from agents.gateways.providers.simulator import OfflineSimulator
from tests.benchmarks.staging import talking

HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]


@cache
def model() -> OfflineSimulator:
    return OfflineSimulator(pacing=Pacing(capacity=talking.CAPACITY))


async def application(
    scope: Mapping[str, Any], receive: Callable[[], Awaitable[Mapping[str, Any]]], send: Callable[[Mapping[str, Any]], Awaitable[None]]
) -> None:
    """Answer every POST; no key, no row, no worker, no store."""
    asked = orjson.loads((await receive()).get("body", b"{}"))["input"]["text"]
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    request = ModelRequest(model=OFFLINE_STANDARD, messages=talking.messages(asked), max_tokens=talking.TOKENS)
    async for part in model().stream(request):
        if isinstance(part, Piece):
            await send({"type": "http.response.body", "body": _event(b"delta", part.text), "more_body": True})
    await send({"type": "http.response.body", "body": _event(b"turn.completed", "")})


def _event(kind: bytes, text: str) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind, orjson.dumps({"text": text}))
