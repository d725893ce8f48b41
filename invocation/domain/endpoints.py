"""Endpoints: an agent version bound to one mode under a name and a version; the public contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from agents.domain.values import NOTHING, Json, Verification
from invocation.domain.budgets import Budgets, narrowed
from invocation.domain.errors import (
    BodyTooLarge,
    EndpointRetired,
    ModeMismatch,
    TooLongForSync,
    TooManyItems,
    TooManyTokens,
    UnknownEndpoint,
    UnknownVersion,
)
from invocation.domain.failing import Tolerance
from invocation.domain.modes import Deadline, Mode, ModePolicy, Transport, policy
from invocation.domain.sessions import OnDisconnect, OnDoubleSend
from invocation.domain.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may bring: items (a list's entries or a manifest's rows), tokens of input, bytes of body."""

    items: int = 100
    tokens: int = 4_000
    body_bytes: int = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a request is expected to take before any work is done."""

    duration: timedelta
    tokens: int
    items: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EscapeHatch:
    """What a person gets when the turn cannot be finished: a stored text, and maybe the offer of an async endpoint.

    `withdrawn` stands in the place of an answer that was taken back; no job is offered then.
    """

    text: str
    offer: str | None = None
    withdrawn: str = "I had to take this answer back. Ask me in other words, and leave out names and contact details."


@dataclass(frozen=True, slots=True)
class Canary:
    """Another version of the endpoint's agent, and the percentage of invocations that it takes; the mode stays the same."""

    agent_version: int
    percent: float

    def __post_init__(self) -> None:
        if not 0 < self.percent < 100:
            raise ValueError(f"canary percent {self.percent}: say a number between 0 and 100")

    def takes(self, run_id: UUID) -> bool:
        """Say whether a run is of the share, by the last digits of its id: the same id always is, and stays so while the share grows."""
        return run_id.int % 10_000 < self.percent * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One published contract. Budgets may narrow the mode's, never widen them."""

    name: str
    version: int
    agent: str
    agent_version: int
    mode: Mode
    input_schema: Mapping[str, Json]
    output_schema: Mapping[str, Json]
    estimate: Callable[[Mapping[str, Json]], Estimate]
    limits: Limits = field(default_factory=Limits)
    floor: Verification = Verification.DRAFT
    first_delta: timedelta | None = None
    whole: timedelta | None = None
    cost_usd: Decimal | None = None
    tokens: int | None = None
    model_calls: int | None = None
    may_wait: frozenset[str] = frozenset()
    window: Window | None = None
    """When its batches may run, unless a batch says otherwise."""
    escape: EscapeHatch | None = None
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    on_double_send: OnDoubleSend = OnDoubleSend.REJECT
    sibling: str | None = None
    """The async endpoint that takes what is too long for this one."""
    canary: Canary | None = None
    """A share of the invocations that another version of the agent takes."""
    tolerance: Tolerance = field(default_factory=Tolerance)
    """From how many failed rows on a batch is paused, unless its request names another."""
    successor: str | None = None
    """Set when this version is retired: the version to call instead."""
    summary: str = ""

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def agent_label(self) -> str:
        return f"{self.agent}@{self.agent_version}"

    def agent_for(self, run_id: UUID, *, canary: Canary | None) -> str:
        """Return the agent version that takes this run: the canary's for its share."""
        if canary is not None and canary.takes(run_id):
            return f"{self.agent}@{canary.agent_version}"
        return self.agent_label

    @property
    def policy(self) -> ModePolicy:
        return policy(self.mode)

    @property
    def budgets(self) -> Budgets:
        terms = self.policy
        return Budgets(
            first_delta=narrowed(self.first_delta, terms.first_delta),
            whole=narrowed(self.whole, terms.whole),
            cost_usd=narrowed(self.cost_usd, terms.cost_cap_usd),
            tokens=narrowed(self.tokens, terms.token_cap),
            model_calls=narrowed(self.model_calls, terms.call_cap),
        )

    def speaks_by(self, received_at: datetime, budgets: Budgets, *, grace: timedelta) -> datetime | None:
        """Return when the first words are due, no later than the whole; None where each answer is verified before it is shown."""
        if self.floor is Verification.BUFFER:
            return None
        return received_at + min(budgets.first_delta + grace, budgets.whole)


@dataclass(frozen=True, slots=True)
class EndpointBook:
    """All endpoints of this installation, by label."""

    by_label: Mapping[str, Endpoint]

    def find(self, label: str) -> Endpoint:
        """Return the endpoint called `name@version`. Raises UnknownEndpoint, UnknownVersion or EndpointRetired."""
        found = self.by_label.get(label)
        if found is None:
            raise self._unknown(label)
        if found.successor:
            raise EndpointRetired(
                f"{label} is retired: call {found.successor} instead.", field="endpoint", found=label, successor=found.successor
            )
        return found

    def find_for(self, label: str, transport: Transport) -> Endpoint:
        """Return the endpoint if it is invoked this way. Raises ModeMismatch, naming the right call, beside find's errors."""
        endpoint = self.find(label)
        right = endpoint.policy.right_call.replace("{endpoint}", label)
        if endpoint.policy.transport is not transport:
            raise ModeMismatch(
                f"{label} is a {endpoint.mode} endpoint: call {right}.", field="endpoint", found=label, mode=endpoint.mode, right_call=right
            )
        return endpoint

    def _unknown(self, label: str) -> UnknownEndpoint | UnknownVersion:
        name = label.partition("@")[0]
        versions = sorted(known for known, each in self.by_label.items() if each.name == name and not each.successor)
        if versions:
            return UnknownVersion(
                f"{label} does not exist; {name} has {', '.join(versions)}.", field="endpoint", found=label, known=versions
            )
        known = sorted(label for label, each in self.by_label.items() if not each.successor)
        return UnknownEndpoint(f"{label!r} does not exist; there are {', '.join(known)}.", field="endpoint", found=label, known=known)


def check_size(endpoint: Endpoint, body_bytes: int) -> None:
    """Refuse a body above the endpoint's limit. Raises BodyTooLarge."""
    if body_bytes > endpoint.limits.body_bytes:
        raise BodyTooLarge(
            f"The body has {body_bytes} bytes; {endpoint.label} takes {endpoint.limits.body_bytes}.",
            found=body_bytes,
            limit=endpoint.limits.body_bytes,
        )


def check_estimate(endpoint: Endpoint, value: Mapping[str, Json]) -> Estimate:
    """Refuse what cannot fit before any work. Raises TooManyItems, TooManyTokens or TooLongForSync."""
    estimate = endpoint.estimate(value)
    limits = endpoint.limits
    if estimate.items > limits.items:
        raise TooManyItems(
            f"{estimate.items} items; {endpoint.label} takes {limits.items} in one request.", found=estimate.items, limit=limits.items
        )
    if estimate.tokens > limits.tokens:
        raise TooManyTokens(
            f"About {estimate.tokens} tokens of input; {endpoint.label} takes {limits.tokens}.", found=estimate.tokens, limit=limits.tokens
        )
    if endpoint.policy.deadline is Deadline.HARD and estimate.duration > endpoint.budgets.whole:
        raise _too_long(endpoint, estimate)
    return estimate


def _too_long(endpoint: Endpoint, estimate: Estimate) -> TooLongForSync:
    found = round(estimate.duration.total_seconds() * 1000)
    sibling = f" Submit it as a job to {endpoint.sibling}." if endpoint.sibling else ""
    return TooLongForSync(
        f"This is estimated to take {found} ms; {endpoint.label} answers within {endpoint.budgets.whole_ms} ms.{sibling}",
        found_ms=found,
        limit_ms=endpoint.budgets.whole_ms,
        sibling=endpoint.sibling,
    )


def contract(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the lock file pins of a published version: mode, transport and both schemas."""
    return {
        "agent": endpoint.agent_label,
        "mode": str(endpoint.mode),
        "transport": str(endpoint.policy.transport),
        "input_schema": endpoint.input_schema,
        "output_schema": endpoint.output_schema,
    }


def breaks(locked: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    """Return why `now` is not the contract that was published, one sentence a break; compatible growth is none.

    Input may gain optional properties; output may gain properties. Anything that
    would refuse an old caller or surprise an old reader needs a new version.
    """
    found = [f"its {key} changed from {locked[key]} to {now[key]}" for key in ("mode", "transport") if locked[key] != now[key]]
    return (
        found + _input_breaks(locked["input_schema"], now["input_schema"]) + _output_breaks(locked["output_schema"], now["output_schema"])
    )


def _input_breaks(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[str]:
    old, new = before.get("properties", NOTHING), after.get("properties", NOTHING)
    required = set(after.get("required", ())) - set(before.get("required", ()))
    return (
        [f"input {name!r} became required" for name in sorted(required)]
        + [f"input {name!r} was removed" for name in sorted(set(old) - set(new))]
        + [f"input {name!r} changed" for name in sorted(set(old) & set(new)) if _meant(old[name]) != _meant(new[name])]
        + _rest_breaks("input", before, after)
    )


def _output_breaks(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[str]:
    old, new = before.get("properties", NOTHING), after.get("properties", NOTHING)
    optional = set(before.get("required", ())) - set(after.get("required", ()))
    return (
        [f"output {name!r} is no longer promised" for name in sorted(optional)]
        + [f"output {name!r} was removed" for name in sorted(set(old) - set(new))]
        + [f"output {name!r} changed" for name in sorted(set(old) & set(new)) if _meant(old[name]) != _meant(new[name])]
        + _rest_breaks("output", before, after)
    )


def _rest_breaks(side: str, before: Mapping[str, Json], after: Mapping[str, Json]) -> list[str]:
    """Outside properties, required and words for people, any change of the schema needs a new version."""
    free = {"properties", "required", *FOR_PEOPLE}
    rest = {key for key in {*before, *after} - free if before.get(key) != after.get(key)}
    return [f"{side} schema's {key!r} changed" for key in sorted(rest)]


FOR_PEOPLE = frozenset({"title", "description", "examples"})


def _meant(schema: Json) -> Json:
    """Return a property's schema without its words for people: better words are no other contract."""
    return {key: value for key, value in schema.items() if key not in FOR_PEOPLE} if isinstance(schema, Mapping) else schema
