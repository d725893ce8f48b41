"""OpenAI's chat completions: what a request says, and how replies, chunks and errors are written."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson

from agents.domain.errors import ProviderRateLimited, ProviderRefused, RunError
from agents.domain.values import ModelRequest, Reply, Role, Usage
from agents.gateways.providers.faults import Overloaded
from agents.gateways.simulated_provider.connection import HttpRequest, whole_seconds
from agents.gateways.simulated_provider.dialect import Call, Refusal, sse
from agents.gateways.simulated_provider.reading import BadRequest, body_of, limit_of, messages_of, name_of

DEFAULT_MAX_TOKENS = 4096
ROLES: Mapping[str, Role] = MappingProxyType(
    {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
)


class ChatCompletions:
    """The dialect of OpenAI and of the many servers that follow it."""

    media_type = "text/event-stream"

    def __init__(self, *, api_key: str) -> None:
        self._authorization = f"Bearer {api_key}".encode()

    def stranger(self, http: HttpRequest) -> Refusal | None:
        if hmac.compare_digest(http.headers.get("authorization", "").encode("latin-1"), self._authorization):
            return None
        return refusal(401, "Incorrect API key provided.", code="invalid_api_key")

    def read(self, http: HttpRequest) -> Call:
        found = body_of(http)
        options = found.get("stream_options")
        request = ModelRequest(
            model=name_of(found.get("model"), param="model"),
            messages=tuple(messages_of(found.get("messages"), roles=ROLES)),
            max_tokens=limit_of(found.get("max_completion_tokens") or found.get("max_tokens") or DEFAULT_MAX_TOKENS, param="max_tokens"),
        )
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        return Call(request=request, is_streamed=found.get("stream") is True, wants_usage=wants_usage)

    def voice(self, call: Call, number: int) -> Chunks:
        return Chunks(call, number)

    def misread(self, error: BadRequest) -> Refusal:
        return refusal(400, error.sentence, param=error.param)

    def failure(self, error: RunError) -> Refusal:
        if isinstance(error, ProviderRateLimited):
            later = {"retry-after": str(whole_seconds(error.retry_after))}
            return refusal(429, error.sentence, kind="tokens", code="rate_limit_exceeded", headers=later)
        if isinstance(error, ProviderRefused):
            return refusal(404, error.sentence, code="model_not_found", param="model")
        return refusal(503 if isinstance(error, Overloaded) else 500, error.sentence, kind="server_error")


class Chunks:
    """One answer: what all its parts carry is its id, when it was made and the model."""

    def __init__(self, call: Call, number: int) -> None:
        self._frame = {"id": f"chatcmpl-{number}", "created": int(datetime.now(UTC).timestamp()), "model": call.request.model}
        self._wants_usage = call.wants_usage
        self._before, _, self._after = self._chunk({"content": "|"}, None).partition(b'"|"')

    def whole(self, reply: Reply) -> bytes:
        message = {"role": "assistant", "content": reply.text}
        choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish}]
        return self._written("chat.completion", choices, usage=_usage(reply.usage))

    def opening(self) -> bytes:
        """Write the event that names the role."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def piece(self, text: str) -> bytes:
        return self._before + orjson.dumps(text) + self._after

    def closing(self, reply: Reply) -> bytes:
        counted = sse(self._written("chat.completion.chunk", [], usage=_usage(reply.usage))) if self._wants_usage else b""
        return self._chunk({}, reply.finish) + counted + sse(b"[DONE]")

    def broken(self, error: RunError) -> bytes:
        return sse(_problem(error.sentence, kind="server_error"))

    def _chunk(self, delta: Mapping[str, str], finish: str | None) -> bytes:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        return sse(self._written("chat.completion.chunk", choices))

    def _written(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return orjson.dumps({**self._frame, "object": kind, "choices": choices, **more})


def models(names: tuple[str, ...]) -> bytes:
    """Write the list of models."""
    return orjson.dumps(
        {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "gearbox"} for name in names]}
    )


def refusal(
    status: int, sentence: str, *, kind: str = "invalid_request_error", headers: Mapping[str, str] | None = None, **more: Any
) -> Refusal:
    """Write an error; `more` are its code and the field that it is about."""
    return Refusal(status=status, body=_problem(sentence, kind=kind, **more), headers=headers or {})


def _problem(sentence: str, *, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    return orjson.dumps({"error": {"message": sentence, "type": kind, "param": param, "code": code}})


def _usage(spent: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": spent.input,
        "completion_tokens": spent.output,
        "total_tokens": spent.total,
        "prompt_tokens_details": {"cached_tokens": spent.cached},
    }
