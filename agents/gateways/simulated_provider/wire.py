"""OpenAI's JSON: what a chat completion's request says, and how replies, chunks and errors are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from agents.domain.values import Message, ModelRequest, Reply, Role, Usage

DEFAULT_MAX_TOKENS = 4096
ROLES: Mapping[str, Role] = MappingProxyType(
    {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
)


class BadRequest(ValueError):
    """The body is no chat completion request. `param` names the field."""

    def __init__(self, sentence: str, *, param: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.param = param


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """One chat completion as it was asked for."""

    request: ModelRequest
    is_streamed: bool
    wants_usage: bool


def read_call(body: bytes) -> ChatCall:
    """Read a request's body. Raises BadRequest."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise BadRequest("The body must be a JSON object.")
    options = found.get("stream_options")
    return ChatCall(
        request=ModelRequest(model=_model(found), messages=_messages(found.get("messages")), max_tokens=_max_tokens(found)),
        is_streamed=found.get("stream") is True,
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _model(found: Mapping[str, Any]) -> str:
    model = found.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("Name a model.", param="model")
    return model


def _max_tokens(found: Mapping[str, Any]) -> int:
    limit = found.get("max_completion_tokens") or found.get("max_tokens") or DEFAULT_MAX_TOKENS
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise BadRequest("The limit must be a whole number above 0.", param="max_tokens")
    return limit


def _messages(found: Any) -> tuple[Message, ...]:
    if not isinstance(found, list) or not found:
        raise BadRequest("Send at least one message.", param="messages")
    return tuple(_message(item, f"messages[{number}]") for number, item in enumerate(found))


def _message(found: Any, place: str) -> Message:
    if not isinstance(found, dict):
        raise BadRequest("A message is an object.", param=place)
    role = ROLES.get(str(found.get("role")))
    if role is None:
        raise BadRequest(f"A role is one of {', '.join(ROLES)}.", param=f"{place}.role")
    return Message(role, _content(found.get("content"), f"{place}.content"))


def _content(found: Any, place: str) -> str:
    """Return the text of a content, which is a string or a list of text parts."""
    if isinstance(found, str):
        return found
    parts = found if isinstance(found, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest("A content is a string or a list of text parts.", param=place)
    return "".join(str(text) for text in texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What all parts of one answer carry: its id, when it was made (in seconds since 1970) and the model."""

    id: str
    created: int
    model: str

    def whole(self, reply: Reply) -> bytes:
        """Write a reply that is not streamed."""
        message = {"role": "assistant", "content": reply.text}
        choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish}]
        return self._written("chat.completion", choices, usage=usage(reply.usage))

    def opening(self) -> bytes:
        """Write the event that names the role."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def around_text(self) -> tuple[bytes, bytes]:
        """Return what stands before and behind the text, as JSON, in the event of a piece: written once for all pieces."""
        before, _, after = self._chunk({"content": "|"}, None).partition(b'"|"')
        return before, after

    def closing(self, reply: Reply, *, with_usage: bool) -> bytes:
        """Write the events that end a stream."""
        counted = event(self._written("chat.completion.chunk", [], usage=usage(reply.usage))) if with_usage else b""
        return self._chunk({}, reply.finish) + counted + event(b"[DONE]")

    def _chunk(self, delta: Mapping[str, str], finish: str | None) -> bytes:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        return event(self._written("chat.completion.chunk", choices))

    def _written(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return orjson.dumps({"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices, **more})


def event(payload: bytes) -> bytes:
    """Frame one server-sent event."""
    return b"data: " + payload + b"\n\n"


def usage(spent: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": spent.input,
        "completion_tokens": spent.output,
        "total_tokens": spent.total,
        "prompt_tokens_details": {"cached_tokens": spent.cached},
    }


def models(names: tuple[str, ...], *, created: int) -> bytes:
    """Write the list of models."""
    return orjson.dumps(
        {"object": "list", "data": [{"id": name, "object": "model", "created": created, "owned_by": "gearbox"} for name in names]}
    )


def problem(sentence: str, *, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """Write an error."""
    return orjson.dumps({"error": {"message": sentence, "type": kind, "param": param, "code": code}})
