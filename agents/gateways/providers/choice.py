"""Which providers there are, which of their models serve a tier, and building one by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    }
)


class UnknownProvider(LookupError):
    """No provider of this name can be built; the sentence names those that can."""


def build(name: str, *, base_url: str = "", api_key: str = "", pacing: Pacing | None = None, faults: Faults | None = None) -> Provider:
    """Build the provider of this name, importing its package only now. Raises UnknownProvider.

    `base_url` and `api_key` concern providers over HTTP, `pacing` and `faults`
    the offline one (none by default: whoever chats must not be able to break it); the others ignore them.
    """
    try:
        builder = _BUILDERS[name]
    except KeyError:
        raise UnknownProvider(f"There is no model provider {name!r}; choose one of: {', '.join(_BUILDERS)}.") from None
    return builder(base_url, api_key, pacing, faults)


def _offline(_base_url: str, _api_key: str, pacing: Pacing | None, faults: Faults | None) -> Provider:
    from agents.gateways.providers.simulator import OfflineSimulator  # noqa: PLC0415  (loaded when chosen)

    return OfflineSimulator(pacing=pacing, faults=faults or Faults())


def _openai(base_url: str, api_key: str, _pacing: Pacing | None, _faults: Faults | None) -> Provider:
    from agents.gateways.providers.openai_compatible import OpenAICompatible  # noqa: PLC0415  (loaded when chosen)

    return OpenAICompatible(base_url=base_url, api_key=api_key)


_BUILDERS: Mapping[str, Callable[[str, str, Pacing | None, Faults | None], Provider]] = MappingProxyType(
    {"offline": _offline, "openai": _openai}
)
