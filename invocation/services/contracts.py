"""Published contracts: the lock file that pins each endpoint version, and whether the declarations still keep them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings

from agents.domain import registry
from agents.domain.contract import AgentSpec
from invocation.domain.endpoints import Canary, Endpoint, breaks, contract
from invocation.domain.errors import ContractBroken
from invocation.domain.modes import Transport
from invocation.gateways import declared, objects


def locked() -> Mapping[str, Mapping[str, Any]]:
    """Return the published contracts by label; none while there is no lock file."""
    path = Path(settings.ENDPOINT_LOCK)
    found: Mapping[str, Mapping[str, Any]] = orjson.loads(path.read_bytes()) if path.exists() else {}
    return found


def broken() -> list[str]:
    """Return why published versions no longer keep their contract, one sentence a break."""
    now = declared.book().by_label
    found = [
        f"{label} was published and is gone: keep it declared, with a successor, when it is retired."
        for label in locked()
        if label not in now
    ]
    for label, before in locked().items():
        if label in now:
            found += [f"{label}: {why}. Publish a new version instead." for why in breaks(before, contract(now[label]))]
    return found


def unpublished() -> list[str]:
    """Return the declared versions that the lock file does not know."""
    return sorted(set(declared.book().by_label) - set(locked()))


def publish() -> list[str]:
    """Pin every declared version in the lock file and return the new ones. Raises ContractBroken and writes nothing if one changed."""
    found = broken()
    if found:
        raise ContractBroken(" ".join(found))
    new = unpublished()
    pinned = {label: contract(endpoint) for label, endpoint in sorted(declared.book().by_label.items())}
    objects.write_whole(Path(settings.ENDPOINT_LOCK), orjson.dumps(pinned, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return new


def unsound() -> list[str]:
    """Return what is wrong with the declarations themselves: unknown agents, waits that the mode has not, dead ends."""
    declared.load_agents()
    known = {spec.label for spec in registry.every()}
    return [why for endpoint in declared.book().by_label.values() for why in _unsound(endpoint, known)]


def _unsound(endpoint: Endpoint, agents: set[str]) -> Iterator[str]:
    label = endpoint.label
    if endpoint.agent_label not in agents:
        yield f"{label}: no agent {endpoint.agent_label} is registered; there are {', '.join(sorted(agents))}."
    elif endpoint.canary is not None:
        yield from (f"{label}: {why}" for why in canary_faults(endpoint, endpoint.canary))
    beyond = endpoint.may_wait - endpoint.policy.may_wait
    if beyond:
        yield f"{label}: a {endpoint.mode} endpoint cannot wait for {', '.join(sorted(beyond))}."
    if endpoint.window is not None and endpoint.policy.transport is not Transport.BATCH:
        yield f"{label}: a {endpoint.mode} endpoint has no window."
    offered = (endpoint.sibling, endpoint.escape.offer if endpoint.escape else None)
    for name in [name for name in offered if name]:
        target = declared.book().by_label.get(name)
        if target is None or target.policy.transport is not Transport.JOB:
            yield f"{label}: {name} is no job endpoint that could take over."


def canary_faults(endpoint: Endpoint, canary: Canary) -> list[str]:
    """Return why this version cannot take a part of the endpoint's runs; the endpoint's own version is registered."""
    declared.load_agents()
    if canary.agent_version == endpoint.agent_version:
        return [f"{endpoint.agent_label} takes all of its runs already."]
    specs = {spec.version: spec for spec in registry.every() if spec.name == endpoint.agent}
    if canary.agent_version not in specs:
        known = ", ".join(spec.label for spec in specs.values())
        return [f"no agent {endpoint.agent}@{canary.agent_version} is registered to be its canary; there are {known}."]
    return _differences(specs[endpoint.agent_version], specs[canary.agent_version])


def _differences(own: AgentSpec, canary: AgentSpec) -> list[str]:
    """Two versions can stand for one another if they are judged by the same rubric, and the canary guards all that the own one guards."""
    found = []
    if (canary.rubric.name, canary.rubric.version) != (own.rubric.name, own.rubric.version):
        found.append(f"{canary.label} is judged by another rubric than {own.label}: their scores could not be compared.")
    missing = {_name(verifier) for verifier in own.verifiers} - {_name(verifier) for verifier in canary.verifiers}
    if missing:
        found.append(f"{canary.label} lacks verifiers of {own.label}: {', '.join(sorted(missing))}.")
    return found


def _name(verifier: Any) -> str:
    return str(getattr(verifier, "__name__", verifier))
