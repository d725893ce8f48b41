"""Importing the modules that register agents, once somebody needs agents."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module


class AgentModuleUnloadable(ImportError):
    """A module of AGENT_MODULES cannot be imported; the sentence names it and why."""


def load(modules: Sequence[str]) -> None:
    """Import the modules, so that their agents are registered; again is free. Raises AgentModuleUnloadable."""
    for module in modules:
        try:
            import_module(module)
        except ImportError as missing:
            raise AgentModuleUnloadable(f"AGENT_MODULES names {module}, which cannot be imported: {missing}.") from missing
