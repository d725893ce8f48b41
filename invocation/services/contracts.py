"""Published contracts: the lock file that pins each endpoint version, and whether the declarations still keep them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings

from agents.domain import registry
from invocation.domain.endpoints import Endpoint, breaks, contract
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
    beyond = endpoint.may_wait - endpoint.policy.may_wait
    if beyond:
        yield f"{label}: a {endpoint.mode} endpoint cannot wait for {', '.join(sorted(beyond))}."
    offered = (endpoint.sibling, endpoint.escape.offer if endpoint.escape else None)
    for name in [name for name in offered if name]:
        target = declared.book().by_label.get(name)
        if target is None or target.policy.transport is not Transport.JOB:
            yield f"{label}: {name} is no job endpoint that could take over."
