"""The price of each model: our own for the offline models, the genai-prices table for all others."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from types import MappingProxyType

from quota.domain.errors import UnknownPrice
from quota.domain.prices import MILLION, Price

OFFLINE: Mapping[str, Price] = MappingProxyType(
    {
        "gearbox-offline-standard": Price(input=Decimal("0.40"), output=Decimal("1.60"), cached=Decimal("0.10")),
        "gearbox-offline-economy": Price(input=Decimal("0.10"), output=Decimal("0.40"), cached=Decimal("0.025")),
    }
)
LISTED_AS: Mapping[str, str] = MappingProxyType({"bedrock": "aws"})
"""The table's own name for a provider, where it has another."""
CALL = 10_000
"""Tokens of the call that sets a price. Some models charge more for prompts of 100,000 and above: so long is no prompt here."""


@cache
def price_of(model: str, *, provider: str) -> Price:
    """Return the model's price per million tokens, without a network call. Raises UnknownPrice."""
    return OFFLINE[model] if model in OFFLINE else _published(provider, model)


def _published(provider: str, model: str) -> Price:
    return Price(
        input=_per_million(provider, model, "input_tokens"),
        output=_per_million(provider, model, "output_tokens"),
        cached=_per_million(provider, model, "input_tokens", "cache_read_tokens"),
    )


def _per_million(provider: str, model: str, *kinds: str) -> Decimal:
    """Price a call of the kinds, brought up to a million tokens: so what is free is as the table has it."""
    from genai_prices import Usage, calc_price  # noqa: PLC0415  (0.2 s to import)

    try:
        found = calc_price(Usage(**dict.fromkeys(kinds, CALL)), model_ref=model, provider_id=LISTED_AS.get(provider, provider))
    except LookupError as error:
        raise UnknownPrice(
            f"No price is known for {provider}/{model}: choose a model that genai-prices lists, or add it to quota/gateways/price_table.py."
        ) from error
    return Decimal(found.total_price) * MILLION / CALL
