"""The offline simulator as a server that speaks OpenAI's, Anthropic's and Bedrock's protocols over HTTP/1.1."""

from agents.gateways.simulated_provider.server import SimulatedProvider, serve

__all__ = ["SimulatedProvider", "serve"]
