"""The values that cross the contract: request, plan, delta, output, and what a model is asked and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

Json = Any
NOTHING: Mapping[str, Json] = MappingProxyType({})


class Verification(StrEnum):
    """How an answer is verified: while it is shown, or before. A plan may raise the endpoint's floor, never lower it."""

    DRAFT = "draft"
    BUFFER = "buffer"

    def at_least(self, wish: Verification | None) -> Verification:
        return Verification.BUFFER if Verification.BUFFER in {self, wish} else Verification.DRAFT


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLimits:
    """How long verifiers may take: one reading beside the generation, and all of a buffered answer once the model has ended."""

    reading: timedelta = timedelta(seconds=30)
    held_back: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One earlier turn of the session: what was asked and what was answered."""

    asked: str
    answered: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an agent is asked: the validated input and, in a session, its earlier turns, oldest first."""

    input: Mapping[str, Json]
    history: tuple[Exchange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What plan() decided, final before the stream starts.

    `facts` is JSON: all that compose() may write from. `summary` is one line for people.
    """

    summary: str
    facts: Mapping[str, Json] = field(default_factory=dict)
    verification: Verification | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of streamed text."""

    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """The one result of a run: JSON that the endpoint's output schema accepts."""

    value: Mapping[str, Json]


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    text: str


class Tier(StrEnum):
    """How good, and dear, a model an agent asks for; the setting MODELS names one for each provider."""

    STANDARD = "standard"
    ECONOMY = "economy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call of a model, as a provider gets it. `max_tokens` bounds the answer."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the provider counted them; `cached` of the input were billed at the cached rate."""

    input: int = 0
    output: int = 0
    cached: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input + other.input, self.output + other.output, self.cached + other.cached)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a model's answer as it streams."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A model's whole answer. `estimated` usage was not reported by the provider but counted by us."""

    text: str
    model: str
    usage: Usage
    finish: str = "stop"
    estimated: bool = False
    tier: str = ""
    downshift: str = ""
    """Why a cheaper tier answered than the best that was asked for; empty where the best did."""

    def answered_by(self, tier: str, *, downshift: str = "") -> Reply:
        """Return the answer of a tier, and why it was not a better one."""
        return Reply(
            text=self.text,
            model=self.model,
            usage=self.usage,
            finish=self.finish,
            estimated=self.estimated,
            tier=tier,
            downshift=downshift,
        )

    def as_json(self) -> dict[str, Json]:
        """Return what a journal keeps of it, field by field: copied as any dataclass it would cost several times that."""
        usage = {"input": self.usage.input, "output": self.usage.output, "cached": self.usage.cached}
        return {
            "text": self.text,
            "model": self.model,
            "usage": usage,
            "finish": self.finish,
            "estimated": self.estimated,
            "tier": self.tier,
            "downshift": self.downshift,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is, for people."""

    done: int
    of: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a run may know of its invocation. Every budget is a number, so that its absence tells nothing."""

    tenant: str
    subject: str = ""
    locale: str = "en"
    latency_budget_ms: int
    cost_cap_usd: float
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
