"""How endpoints and agents stand: whether the published contract is kept, and what is held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from agents.domain import registry
from agents.domain.contract import AgentSpec
from invocation.domain.endpoints import Canary, Endpoint, breaks, contract
from invocation.gateways import declared
from invocation.models import Hold
from invocation.models.admission import HoldScope
from invocation.selectors import canaries
from quota.domain.classes import PriorityClass
from quota.selectors import tenant_id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStanding:
    """An endpoint, how its contract stands to the lock file (None: not published), its canary, and the hold on it."""

    endpoint: Endpoint
    canary: Canary | None
    breaks: Sequence[str] | None
    hold: Hold | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStanding:
    """An agent version, the endpoints bound to it or with it as canary, and the hold on it."""

    agent: AgentSpec
    endpoints: Sequence[Endpoint]
    hold: Hold | None


def endpoints(locked: Mapping[str, Any]) -> list[EndpointStanding]:
    """Return every declared endpoint by label, each beside its published contract in `locked`."""
    held = _open_holds(HoldScope.ENDPOINT)
    return [
        EndpointStanding(endpoint=endpoint, canary=canaries.of(endpoint), breaks=_breaks(locked.get(label), endpoint), hold=held.get(label))
        for label, endpoint in sorted(declared.book().by_label.items())
    ]


def agents() -> list[AgentStanding]:
    """Return every agent that the settings name, by label."""
    declared.load_agents()
    held = _open_holds(HoldScope.AGENT)
    bound = declared.book().by_label.values()
    return [
        AgentStanding(agent=spec, endpoints=[each for each in bound if spec.label in _agents_of(each)], hold=held.get(spec.label))
        for spec in registry.every()
    ]


def open_holds() -> list[Hold]:
    """Return every hold that was not released, the newest first."""
    return list(Hold.objects.filter(released_at__isnull=True).select_related("held_by").order_by("-pk"))


def value_of(scope: HoldScope, given: str) -> str | None:
    """Return the value that a hold of this thing has; None if there is no such thing. A tenant may be given by name."""
    return _VALUES[scope](given)


def _known(labels: Callable[[], set[str]]) -> Callable[[str], str | None]:
    return lambda given: given if given in labels() else None


def _tenant(given: str) -> str | None:
    try:
        return str(UUID(given))
    except ValueError:
        found = tenant_id_of(given)
        return str(found) if found else None


_VALUES: Mapping[HoldScope, Callable[[str], str | None]] = MappingProxyType(
    {
        HoldScope.ENDPOINT: _known(lambda: set(declared.book().by_label)),
        HoldScope.AGENT: _known(lambda: {each.agent.label for each in agents()}),
        HoldScope.CLASS: _known(lambda: set(map(str, PriorityClass))),
        HoldScope.TENANT: _tenant,
    }
)


def _agents_of(endpoint: Endpoint) -> set[str]:
    canary = canaries.of(endpoint)
    return {endpoint.agent_label} | ({f"{endpoint.agent}@{canary.agent_version}"} if canary else set())


def _open_holds(scope: HoldScope) -> Mapping[str, Hold]:
    rows = Hold.objects.filter(scope=scope, released_at__isnull=True).select_related("held_by")
    return {hold.value: hold for hold in rows}


def _breaks(locked: Mapping[str, Any] | None, endpoint: Endpoint) -> list[str] | None:
    return None if locked is None else breaks(locked, contract(endpoint))
