"""Reading what the protocols ask alike out of a request's JSON; whatever is wrong names its field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from agents.domain.values import Message, Role
from agents.gateways.simulated_provider.connection import HttpRequest

TURNS: Mapping[str, Role] = MappingProxyType({"user": Role.USER, "assistant": Role.ASSISTANT})


class BadRequest(ValueError):
    """The body is no request of this protocol. `param` names the field."""

    def __init__(self, sentence: str, *, param: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.param = param


def body_of(http: HttpRequest) -> Mapping[str, Any]:
    """Return the body's JSON object. Raises BadRequest."""
    try:
        found = orjson.loads(http.body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise BadRequest("The body must be a JSON object.")
    return found


def name_of(found: Any, *, param: str) -> str:
    """Return a model's name. Raises BadRequest."""
    if not isinstance(found, str) or not found:
        raise BadRequest("Name a model.", param=param)
    return found


def limit_of(found: Any, *, param: str) -> int:
    """Return the most tokens that an answer may have. Raises BadRequest."""
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise BadRequest("The limit must be a whole number above 0.", param=param)
    return found


def messages_of(found: Any, *, roles: Mapping[str, Role] = TURNS) -> list[Message]:
    """Return the messages of a conversation. Raises BadRequest."""
    return [_message(item, f"messages[{number}]", roles) for number, item in enumerate(_items(found))]


def system_of(found: Any) -> list[Message]:
    """Return what the system says where that stands beside the conversation. Raises BadRequest."""
    return [Message(Role.SYSTEM, text) for text in _texts(found, "system")] if found else []


def _items(found: Any) -> list[Any]:
    if not isinstance(found, list) or not found:
        raise BadRequest("Send at least one message.", param="messages")
    return found


def _message(found: Any, place: str, roles: Mapping[str, Role]) -> Message:
    if not isinstance(found, dict):
        raise BadRequest("A message is an object.", param=place)
    role = roles.get(str(found.get("role")))
    if role is None:
        raise BadRequest(f"A role is one of {', '.join(roles)}.", param=f"{place}.role")
    return Message(role, "".join(_texts(found.get("content"), f"{place}.content")))


def _texts(found: Any, place: str) -> list[str]:
    """Return the texts of a content, which is a string or a list of text parts."""
    if isinstance(found, str):
        return [found]
    parts: Iterable[Any] = found if isinstance(found, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest("A content is a string or a list of text parts.", param=place)
    return [str(text) for text in texts]
