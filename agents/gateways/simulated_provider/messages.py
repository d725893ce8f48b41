"""Anthropic's messages: what a request says, and how replies, events and errors are written."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from agents.domain.errors import ProviderRateLimited, ProviderRefused, RunError
from agents.domain.values import ModelRequest, Reply, Usage
from agents.gateways.providers.faults import Overloaded
from agents.gateways.providers.tokens import count_messages
from agents.gateways.simulated_provider.connection import HttpRequest, whole_seconds
from agents.gateways.simulated_provider.dialect import Call, Refusal, sse
from agents.gateways.simulated_provider.reading import BadRequest, body_of, limit_of, messages_of, name_of, system_of

REASONS: Mapping[str, str] = MappingProxyType({"stop": "end_turn", "length": "max_tokens"})


class Messages:
    """The dialect of Anthropic. The key comes as `x-api-key` or, from newer clients, as Bearer."""

    media_type = "text/event-stream; charset=utf-8"

    def __init__(self, *, api_key: str) -> None:
        self._api_key = api_key.encode()

    def stranger(self, http: HttpRequest) -> Refusal | None:
        given = http.headers.get("x-api-key") or http.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode("latin-1"), self._api_key):
            return _refusal(401, "authentication_error", "invalid x-api-key")
        if "anthropic-version" not in http.headers:
            return _refusal(400, "invalid_request_error", "anthropic-version: header is required")
        return None

    def read(self, http: HttpRequest) -> Call:
        found = body_of(http)
        request = ModelRequest(
            model=name_of(found.get("model"), param="model"),
            messages=(*system_of(found.get("system")), *messages_of(found.get("messages"))),
            max_tokens=limit_of(found.get("max_tokens"), param="max_tokens"),
        )
        return Call(request=request, is_streamed=found.get("stream") is True)

    def voice(self, call: Call, number: int) -> MessageEvents:
        return MessageEvents(call, number)

    def misread(self, error: BadRequest) -> Refusal:
        return _refusal(400, "invalid_request_error", f"{error.param}: {error.sentence}" if error.param else error.sentence)

    def failure(self, error: RunError) -> Refusal:
        if isinstance(error, ProviderRateLimited):
            later = {"retry-after": str(whole_seconds(error.retry_after))}
            return _refusal(429, "rate_limit_error", error.sentence, headers=later)
        if isinstance(error, ProviderRefused):
            return _refusal(404, "not_found_error", error.sentence)
        return (
            _refusal(529, "overloaded_error", error.sentence)
            if isinstance(error, Overloaded)
            else _refusal(500, "api_error", error.sentence)
        )


class MessageEvents:
    """One answer, as a message or as the events of one."""

    def __init__(self, call: Call, number: int) -> None:
        self._message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": call.request.model}
        self._input = Usage(input=count_messages(call.request.messages))
        delta = _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "|"})
        self._before, _, self._after = delta.partition(b'"|"')

    def whole(self, reply: Reply) -> bytes:
        content = [{"type": "text", "text": reply.text}]
        return orjson.dumps({**self._message, "content": content, **_stop(reply.finish), "usage": _usage(reply.usage)})

    def opening(self) -> bytes:
        started: dict[str, Any] = {**self._message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(self._input)}
        block = {"type": "text", "text": ""}
        return _event("message_start", message=started) + _event("content_block_start", index=0, content_block=block) + _event("ping")

    def piece(self, text: str) -> bytes:
        return self._before + orjson.dumps(text) + self._after

    def closing(self, reply: Reply) -> bytes:
        stopped = _event("message_delta", delta=_stop(reply.finish), usage=_usage(reply.usage))
        return _event("content_block_stop", index=0) + stopped + _event("message_stop")

    def broken(self, error: RunError) -> bytes:
        return _event("error", error={"type": "api_error", "message": error.sentence})


def _event(kind: str, **fields: Any) -> bytes:
    return sse(orjson.dumps({"type": kind, **fields}), name=kind.encode())


def _stop(finish: str) -> dict[str, Any]:
    return {"stop_reason": REASONS[finish], "stop_sequence": None}


def _usage(spent: Usage) -> dict[str, int]:
    return {
        "input_tokens": spent.input - spent.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": spent.cached,
        "output_tokens": spent.output,
    }


def _refusal(status: int, kind: str, sentence: str, *, headers: Mapping[str, str] | None = None) -> Refusal:
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": sentence}})
    return Refusal(status=status, body=body, headers=headers or {})
