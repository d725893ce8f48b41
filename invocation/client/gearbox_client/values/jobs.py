"""Jobs, their results and their journals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NotRequired, TypedDict

from gearbox_client.values.events import ENDED

OrderingPolicy = Literal["enqueue", "reject", "replace"]


class Context(TypedDict):
    """What an answer belongs to; without a version it belongs to the context's newest."""

    key: str
    version: NotRequired[int]
    policy: NotRequired[Literal["deliver", "annotate", "withhold"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedContext:
    """The context that a job names, its version, and what is done with an answer that comes too late."""

    key: str
    version: int
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """Whether the answer's context has moved on since it was asked."""

    is_current: bool
    asked_version: int
    current_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedJob:
    """A submission that is durable. `state` is the state at acceptance."""

    id: str
    state: str
    endpoint: str
    created_at: datetime
    queue_position: int | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands. What a list leaves out (`input`, the place in the queue, the kin) is None there."""

    id: str
    state: str
    endpoint: str
    agent: str
    attempt: int
    created_at: datetime
    reason: str = ""
    mode: str = ""
    subject: str = ""
    locale: str = ""
    metadata: Mapping[str, str] | None = None
    ordering_key: str | None = None
    failures: int = 0
    losses: int = 0
    progress: Mapping[str, Any] | None = None
    questions: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    parent: str | None = None
    root: str | None = None
    depth: int = 0
    context: NamedContext | None = None
    webhook: str | None = None
    latency_budget_ms: int | None = None
    cost_cap_usd: Decimal | None = None
    spent_usd: Decimal | None = None
    token_cap: int | None = None
    spent_tokens: int | None = None
    call_cap: int | None = None
    spent_calls: int | None = None
    traceparent: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    last_seq: int = 0
    input: Mapping[str, Any] | None = None
    queue_position: int | None = None
    eta_s: float | None = None
    awaiting: Mapping[str, Any] | None = None
    due_at: datetime | None = None
    relevance: Relevance | None = None
    redrive_of: str | None = None
    redriven_as: str | None = None
    downshifts: tuple[Mapping[str, str], ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a completed job answered. `relevance` is set when its context has moved on since."""

    id: str
    endpoint: str
    output: Mapping[str, Any]
    at: datetime
    relevance: Relevance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A finished step: a later attempt gets its result back instead of doing it again."""

    name: str
    occurrence: int
    attempt: int
    at: datetime
    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAnswer:
    """The newest answer that came. `output` is None where it is withheld, kept no more, or large: then read the job's result."""

    job: str
    version: int
    is_current: bool
    at: datetime
    output: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextVersion:
    """The newest version of a context, and the newest answer in it."""

    key: str
    version: int
    answer: ContextAnswer | None = None
