"""Which providers there are, which of their models serve a tier, and building one by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

from agents.domain.providers import Provider
from agents.domain.values import Tier
from agents.gateways.providers.faults import Faults
from agents.gateways.providers.lengths import OFFLINE_ECONOMY, OFFLINE_STANDARD
from agents.gateways.providers.pacing import Pacing

MODELS: Mapping[str, Mapping[Tier, str]] = MappingProxyType(
    {
        "offline": MappingProxyType({Tier.STANDARD: OFFLINE_STANDARD, Tier.ECONOMY: OFFLINE_ECONOMY}),
        "openai": MappingProxyType({Tier.STANDARD: "gpt-5-mini", Tier.ECONOMY: "gpt-5-nano"}),
        "anthropic": MappingProxyType({Tier.STANDARD: "claude-sonnet-5-5", Tier.ECONOMY: "claude-haiku-5-5"}),
        "bedrock": MappingProxyType(
            {Tier.STANDARD: "global.anthropic.claude-sonnet-5-5", Tier.ECONOMY: "global.anthropic.claude-haiku-5-5"}
        ),
    }
)


PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "offline": (),
        "openai": ("openai",),
        "anthropic": ("anthropic",),
        "bedrock": ("botocore.session", "botocore.auth", "botocore.eventstream", "httpx"),
    }
)
"""What the first call of each would import: up to two seconds of work, more than a chat has."""


class UnknownProvider(LookupError):
    """No provider of this name can be built; the sentence names those that can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What a provider may be built from; each takes what concerns it."""

    base_url: str
    api_key: str
    region: str
    pacing: Pacing | None
    faults: Faults


def build(
    name: str, *, base_url: str = "", api_key: str = "", region: str = "", pacing: Pacing | None = None, faults: Faults | None = None
) -> Provider:
    """Build the provider of this name, importing its package only at its first call, unless `warm` did. Raises UnknownProvider.

    `base_url` and `api_key` concern providers over HTTP, `region` Bedrock, `pacing` and `faults`
    the offline one (none by default: whoever chats must not be able to break it); the others ignore them.
    """
    try:
        builder = _BUILDERS[name]
    except KeyError:
        raise UnknownProvider(f"There is no model provider {name!r}; choose one of: {', '.join(_BUILDERS)}.") from None
    return builder(_Given(base_url=base_url, api_key=api_key, region=region, pacing=pacing, faults=faults or Faults()))


def warm(name: str) -> None:
    """Import what the first call would import, in a process that will make one."""
    for module in PACKAGES.get(name, ()):
        import_module(module)


def _offline(given: _Given) -> Provider:
    from agents.gateways.providers.simulator import OfflineSimulator  # noqa: PLC0415  (each loaded when chosen)

    return OfflineSimulator(pacing=given.pacing, faults=given.faults)


def _openai(given: _Given) -> Provider:
    from agents.gateways.providers.openai_compatible import OpenAICompatible  # noqa: PLC0415

    return OpenAICompatible(base_url=given.base_url, api_key=given.api_key)


def _anthropic(given: _Given) -> Provider:
    from agents.gateways.providers.anthropic_messages import AnthropicMessages  # noqa: PLC0415

    return AnthropicMessages(base_url=given.base_url, api_key=given.api_key)


def _bedrock(given: _Given) -> Provider:
    from agents.gateways.providers.bedrock import Bedrock  # noqa: PLC0415

    return Bedrock(base_url=given.base_url, api_key=given.api_key, region=given.region)


_BUILDERS: Mapping[str, Callable[[_Given], Provider]] = MappingProxyType(
    {"offline": _offline, "openai": _openai, "anthropic": _anthropic, "bedrock": _bedrock}
)
