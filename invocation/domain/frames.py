"""What a person's program may send over a WebSocket, read into values; a malformed frame is a refusal with a field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from invocation.domain.errors import BodyTooLarge, InputInvalid

MOST_BYTES = 65_536
FIELDS = ("type", "input", "subject", "locale", "metadata", "turn")
LENGTHS = {"subject": 200, "locale": 16, "turn": 36}


AT_ONCE, A_SECOND = 20, 4
"""A person's page sends a frame for each question and each stop."""


@dataclass(slots=True)
class Pace:
    """How many frames a connection may still send: a bucket that fills by `A_SECOND` up to `AT_ONCE`."""

    left: float = AT_ONCE
    at_s: float = 0.0

    def allows(self, *, now_s: float) -> bool:
        """Count one frame at this moment of a monotonic clock; False once there are too many."""
        self.left = min(float(AT_ONCE), self.left + (now_s - self.at_s) * A_SECOND)
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


class FrameType(StrEnum):
    TURN = "turn"
    CANCEL = "cancel"
    ACCEPT = "accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame. A turn has an input and its like, an acceptance names the turn whose offer it accepts; the rest is empty."""

    type: FrameType
    input: Mapping[str, Any]
    subject: str
    locale: str
    metadata: Mapping[str, str]
    turn: str
    bytes: int


def parse_frame(raw: str | bytes) -> Frame:
    """Return the frame. Raises BodyTooLarge or InputInvalid, which names the field."""
    size = len(raw.encode() if isinstance(raw, str) else raw)
    if size > MOST_BYTES:
        raise BodyTooLarge(f"The frame has {size} bytes; a frame has at most {MOST_BYTES}.", found=size, limit=MOST_BYTES)
    told = _object(raw)
    return Frame(
        type=_type(told),
        input=_mapping(told, "input"),
        subject=_text(told, "subject", ""),
        locale=_text(told, "locale", "en"),
        metadata=_texts(told, "metadata"),
        turn=_text(told, "turn", ""),
        bytes=size,
    )


def _object(raw: str | bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError):
        raise InputInvalid("The frame is not JSON.", field="/") from None
    if not isinstance(told, dict):
        raise InputInvalid(f"A frame is one JSON object, not a {type(told).__name__}.", field="/")
    if any("\0" in text for text in _strings(told)):
        raise InputInvalid("A string must not hold U+0000.", field="/")
    unknown = sorted(set(told) - set(FIELDS))
    if unknown:
        raise InputInvalid(f"/{unknown[0]}: there is no such field; there are {', '.join(FIELDS)}.", field=f"/{unknown[0]}")
    return told


def _type(told: Mapping[str, Any]) -> FrameType:
    try:
        return FrameType(told.get("type", ""))
    except ValueError:
        known = ", ".join(FrameType)
        raise InputInvalid(f"/type: a frame is one of {known}.", field="/type", found=repr(told.get("type"))[:80]) from None


def _mapping(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = told.get(name, {})
    if not isinstance(value, dict):
        raise InputInvalid(f"/{name}: one JSON object is wanted, not a {type(value).__name__}.", field=f"/{name}")
    return value


def _text(told: Mapping[str, Any], name: str, default: str) -> str:
    value = told.get(name, default)
    if not isinstance(value, str) or len(value) > LENGTHS[name]:
        raise InputInvalid(f"/{name}: a string of at most {LENGTHS[name]} characters is wanted.", field=f"/{name}")
    return value


def _texts(told: Mapping[str, Any], name: str) -> Mapping[str, str]:
    value = _mapping(told, name)
    wrong = next((key for key, text in value.items() if not isinstance(text, str) or len(text) > 500 or len(key) > 64), None)
    if wrong is not None or len(value) > 16:
        raise InputInvalid(f"/{name}: at most 16 short strings by name are wanted.", field=f"/{name}")
    return value


def _strings(value: Any) -> list[str]:
    """Return every string inside a JSON value, keys included; PostgreSQL keeps no U+0000, so all are looked at."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in _strings(part)]
    return []
