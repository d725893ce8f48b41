"""The endpoints that this installation declares, loaded once from the modules that the settings name."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from django.conf import settings

from agents.domain import registry
from agents.services import loading
from invocation.domain.endpoints import Endpoint, EndpointBook


@cache
def book() -> EndpointBook:
    """Return every endpoint declared by the modules of ENDPOINT_MODULES, each of which has an `ENDPOINTS` sequence."""
    declared: dict[str, Endpoint] = {}
    for module in settings.ENDPOINT_MODULES:
        for endpoint in import_module(module).ENDPOINTS:
            if endpoint.label in declared:
                raise ValueError(f"{endpoint.label} is declared twice; {module} has the second.")
            declared[endpoint.label] = endpoint
    return EndpointBook(declared)


def load_agents() -> None:
    """Import the agents that endpoints are bound to, also those that stand beside their endpoint: once a process, or until it succeeds."""
    book()
    _load(tuple(settings.AGENT_MODULES))


def knows(endpoint: str, agent: str) -> bool:
    """Say whether this process can run an agent for an endpoint: in a deploy another may know what this one does not.

    Where the agents cannot be imported, the run says so.
    """
    if endpoint not in book().by_label:
        return False
    try:
        load_agents()
    except ImportError:
        return True
    return registry.knows(agent)


@cache
def _load(modules: tuple[str, ...]) -> None:
    loading.load(modules)
