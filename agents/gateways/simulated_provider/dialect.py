"""What a protocol must be able to say so that the simulated provider can speak it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agents.domain.errors import RunError
from agents.domain.values import ModelRequest, Reply
from agents.gateways.simulated_provider.connection import HttpRequest
from agents.gateways.simulated_provider.reading import BadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One completion as it was asked for. `wants_usage` says whether a stream ends with the counts."""

    request: ModelRequest
    is_streamed: bool = True
    wants_usage: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is no completion."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Voice(Protocol):
    """How one answer is put into bytes. A stream is its opening, its pieces, then its closing or what broke it."""

    def whole(self, reply: Reply) -> bytes: ...

    def opening(self) -> bytes: ...

    def piece(self, text: str) -> bytes: ...

    def closing(self, reply: Reply) -> bytes: ...

    def broken(self, error: RunError) -> bytes: ...


class Dialect(Protocol):
    """One company's protocol. `media_type` is that of a stream."""

    media_type: str

    def stranger(self, http: HttpRequest) -> Refusal | None:
        """Return the refusal of a request that does not prove to know the key."""

    def read(self, http: HttpRequest) -> Call:
        """Read a request. Raises BadRequest."""

    def voice(self, call: Call, number: int) -> Voice:
        """Return how the answer to this call is said; the number is its own."""

    def misread(self, error: BadRequest) -> Refusal: ...

    def failure(self, error: RunError) -> Refusal:
        """Return the answer for a call that failed before it said anything."""


def sse(payload: bytes, *, name: bytes = b"") -> bytes:
    """Frame one server-sent event."""
    return (b"event: " + name + b"\n" if name else b"") + b"data: " + payload + b"\n\n"
