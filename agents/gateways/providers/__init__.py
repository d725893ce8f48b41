"""The ways to a model, built by name; a provider's own package loads when it is built."""

from agents.gateways.providers.choice import MODELS, UnknownProvider, build

__all__ = ["MODELS", "UnknownProvider", "build"]
