"""How endpoints and agents stand: whether the published contract is kept, and what is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.domain import registry
from agents.domain.contract import AgentSpec
from invocation.domain.endpoints import Endpoint, breaks, contract
from invocation.gateways import declared
from invocation.models import Hold
from invocation.models.admission import HoldScope


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStanding:
    """An endpoint, how its contract stands to the lock file (None: not published), and the hold on it."""

    endpoint: Endpoint
    breaks: Sequence[str] | None
    hold: Hold | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStanding:
    """An agent version, the endpoints bound to it, and the hold on it."""

    agent: AgentSpec
    endpoints: Sequence[Endpoint]
    hold: Hold | None


def endpoints(locked: Mapping[str, Any]) -> list[EndpointStanding]:
    """Return every declared endpoint by label, each beside its published contract in `locked`."""
    held = _open_holds(HoldScope.ENDPOINT)
    return [
        EndpointStanding(endpoint=endpoint, breaks=_breaks(locked.get(label), endpoint), hold=held.get(label))
        for label, endpoint in sorted(declared.book().by_label.items())
    ]


def agents() -> list[AgentStanding]:
    """Return every agent that the settings name, by label."""
    declared.load_agents()
    held = _open_holds(HoldScope.AGENT)
    bound = declared.book().by_label.values()
    return [
        AgentStanding(agent=spec, endpoints=[each for each in bound if each.agent_label == spec.label], hold=held.get(spec.label))
        for spec in registry.every()
    ]


def _open_holds(scope: HoldScope) -> Mapping[str, Hold]:
    rows = Hold.objects.filter(scope=scope, released_at__isnull=True).select_related("held_by")
    return {hold.value: hold for hold in rows}


def _breaks(locked: Mapping[str, Any] | None, endpoint: Endpoint) -> list[str] | None:
    return None if locked is None else breaks(locked, contract(endpoint))
