"""Which agents this process knows, by name and version."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.domain.contract import AgentSpec

_known: dict[tuple[str, int], AgentSpec] = {}


class AgentAlreadyRegistered(LookupError):
    """Two classes claim the same agent and version. The first one stays."""


class UnknownAgent(LookupError):
    """No agent of this name and version is registered in this process."""


def add(spec: AgentSpec) -> None:
    """Register once; the same class registered again (a reload) is no error."""
    present = _known.get((spec.name, spec.version))
    if present and _origin(present) != _origin(spec):
        raise AgentAlreadyRegistered(f"{spec.label} is already registered: give the new class another version.")
    _known[spec.name, spec.version] = spec


def find(name: str, version: int) -> AgentSpec:
    """Return the agent of this name and version. Raises UnknownAgent."""
    try:
        return _known[name, version]
    except KeyError:
        known = ", ".join(spec.label for spec in every()) or "none"
        raise UnknownAgent(f"No agent {name}@{version} is registered here; known: {known}.") from None


def knows(label: str) -> bool:
    """Say whether the agent of this label, as `name@version`, is registered in this process."""
    name, _, version = label.partition("@")
    return version.isdecimal() and (name, int(version)) in _known


def every() -> list[AgentSpec]:
    """Return all agents, ordered by name and version."""
    return [_known[key] for key in sorted(_known)]


def _origin(spec: AgentSpec) -> str:
    return f"{spec.build.__module__}.{getattr(spec.build, '__qualname__', '')}"
