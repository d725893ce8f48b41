"""The model provider that the settings choose, its models by tier, and what a conversation counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from types import MappingProxyType

from django.conf import settings

from agents.domain.providers import Provider
from agents.domain.values import Tier
from agents.gateways.providers import choice
from agents.gateways.providers.bounds import most_of_messages
from agents.gateways.providers.choice import MODELS, build
from agents.gateways.providers.faults import Faults
from agents.gateways.providers.pacing import Pacing
from agents.gateways.providers.tokens import count_messages, count_tokens

__all__ = ["chosen", "count_messages", "count_tokens", "misnamed", "most_of_messages", "names", "warm"]


def chosen() -> Provider:
    """Build the provider that MODEL_PROVIDER names. Raises UnknownProvider."""
    return build(
        settings.MODEL_PROVIDER,
        base_url=settings.MODEL_BASE_URL,
        api_key=settings.MODEL_API_KEY,
        region=settings.MODEL_REGION,
        pacing=Pacing(
            first_token=timedelta(milliseconds=settings.OFFLINE_FIRST_TOKEN_MS),
            per_token=timedelta(milliseconds=settings.OFFLINE_TOKEN_MS),
            capacity=settings.OFFLINE_CAPACITY,
        ),
        faults=Faults(markers=settings.OFFLINE_FAULT_MARKERS),
    )


def warm() -> None:
    """Import the chosen provider's package now: the first who waits for a call must not wait for that."""
    choice.warm(settings.MODEL_PROVIDER)


def misnamed() -> list[str]:
    """Return what of MODEL_PROVIDER and MODEL_TIERS names nothing that there is, one sentence each."""
    found = [] if settings.MODEL_PROVIDER in MODELS else [f"MODEL_PROVIDER={settings.MODEL_PROVIDER!r}: say one of {', '.join(MODELS)}."]
    tiers = [tier for tier in settings.MODEL_TIERS if tier not in set(Tier)]
    return found + [f"MODEL_TIERS names the tier {tier!r}: there are {', '.join(Tier)}." for tier in tiers]


def names() -> Mapping[Tier, str]:
    """Return the chosen provider's model for each tier; MODEL_TIERS overrides."""
    return _names(settings.MODEL_PROVIDER, tuple(settings.MODEL_TIERS.items()))


@cache
def _names(provider: str, tiers: tuple[tuple[str, str], ...]) -> Mapping[Tier, str]:
    return MappingProxyType({**MODELS[provider], **{Tier(tier): name for tier, name in tiers}})
