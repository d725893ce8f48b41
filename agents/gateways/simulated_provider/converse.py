"""Amazon Bedrock's ConverseStream: what a request says, and how events and errors are written."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import orjson

from agents.domain.errors import ProviderRateLimited, ProviderRefused, RunError
from agents.domain.values import Message, ModelRequest, Reply, Role, Usage
from agents.gateways.providers.faults import Overloaded
from agents.gateways.simulated_provider import signature
from agents.gateways.simulated_provider.connection import HttpRequest
from agents.gateways.simulated_provider.dialect import Call, Refusal
from agents.gateways.simulated_provider.event_stream import frame
from agents.gateways.simulated_provider.reading import BadRequest, body_of, limit_of, messages_of, name_of, system_of

DEFAULT_MAX_TOKENS = 4096
BEFORE, AFTER = "/model/", "/converse-stream"
REASONS: Mapping[str, str] = MappingProxyType({"stop": "end_turn", "length": "max_tokens"})


class Converse:
    """The dialect of Bedrock. A request is signed with the key as id and as secret, or brings it as Bearer."""

    media_type = "application/vnd.amazon.eventstream"

    def __init__(self, *, api_key: str) -> None:
        self._api_key = api_key

    def stranger(self, http: HttpRequest) -> Refusal | None:
        flaw = signature.flaw(http, key=self._api_key)
        return _refusal(403, flaw.kind, flaw.sentence) if flaw else None

    def read(self, http: HttpRequest) -> Call:
        found = body_of(http)
        config = found.get("inferenceConfig", {})
        said = messages_of(found.get("messages"))
        _check_alternation(said)
        request = ModelRequest(
            model=name_of(unquote(http.path.removeprefix(BEFORE).removesuffix(AFTER)), param="modelId"),
            messages=(*system_of(found.get("system")), *said),
            max_tokens=limit_of(config.get("maxTokens", DEFAULT_MAX_TOKENS), param="inferenceConfig.maxTokens"),
        )
        return Call(request=request)

    def voice(self, _call: Call, _number: int) -> ConverseEvents:
        return ConverseEvents()

    def misread(self, error: BadRequest) -> Refusal:
        return _refusal(400, "ValidationException", f"{error.param}: {error.sentence}" if error.param else error.sentence)

    def failure(self, error: RunError) -> Refusal:
        if isinstance(error, ProviderRateLimited):
            return _refusal(429, "ThrottlingException", error.sentence)
        if isinstance(error, ProviderRefused):
            return _refusal(404, "ResourceNotFoundException", error.sentence)
        overloaded = isinstance(error, Overloaded)
        return (
            _refusal(503, "ServiceUnavailableException", error.sentence)
            if overloaded
            else _refusal(500, "InternalServerException", error.sentence)
        )


class ConverseEvents:
    """One answer as events."""

    def whole(self, reply: Reply) -> bytes:
        raise NotImplementedError(f"ConverseStream streams: {reply.model}.")

    def opening(self) -> bytes:
        return _event("messageStart", {"role": "assistant"})

    def piece(self, text: str) -> bytes:
        return _event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})

    def closing(self, reply: Reply) -> bytes:
        stopped = _event("contentBlockStop", {"contentBlockIndex": 0}) + _event("messageStop", {"stopReason": REASONS[reply.finish]})
        return stopped + _event("metadata", {"usage": _usage(reply.usage), "metrics": {"latencyMs": 1}})

    def broken(self, error: RunError) -> bytes:
        kind = {":exception-type": "internalServerException", ":message-type": "exception"}
        return frame({**kind, ":content-type": "application/json"}, orjson.dumps({"message": error.sentence}))


def is_asked(http: HttpRequest) -> bool:
    """Say whether a request is for this protocol."""
    return http.path.startswith(BEFORE) and http.path.endswith(AFTER)


def _event(kind: str, payload: Any) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, orjson.dumps(payload))


def _check_alternation(said: list[Message]) -> None:
    """Refuse as Bedrock does: a user begins, and nobody speaks twice in a row."""
    if any(message.role is not (Role.USER, Role.ASSISTANT)[number % 2] for number, message in enumerate(said)):
        raise BadRequest("A conversation must begin with a user message and roles must alternate.", param="messages")


def _usage(spent: Usage) -> dict[str, int]:
    return {
        "inputTokens": spent.input - spent.cached,
        "outputTokens": spent.output,
        "totalTokens": spent.total,
        "cacheReadInputTokens": spent.cached,
        "cacheWriteInputTokens": 0,
    }


def _refusal(status: int, kind: str, sentence: str) -> Refusal:
    """Write an error, whose kind AWS's clients read from a header."""
    return Refusal(status=status, body=orjson.dumps({"message": sentence}), headers={"x-amzn-errortype": kind})
