"""The price of each model: our own for the offline models, the genai-prices table for all others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType

from quota.domain.errors import UnknownPrice
from quota.domain.prices import MILLION, Price, PriceSource

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
STEP_MINUTES = 10
"""The table knows prices by the time of day; none begins within ten minutes."""


def source_of(model: str) -> PriceSource:
    return PriceSource.OFFLINE if model in OFFLINE else PriceSource.TABLE


def price_of(model: str, *, provider: str, at: datetime) -> Price:
    """Return the model's price per million tokens at a moment, without a network call. Raises UnknownPrice."""
    if model in OFFLINE:
        return OFFLINE[model]
    return _published(provider, model, at.replace(minute=at.minute - at.minute % STEP_MINUTES, second=0, microsecond=0))


@lru_cache(maxsize=1024)
def _published(provider: str, model: str, at: datetime) -> Price:
    return Price(
        input=_per_million(provider, model, at, "input_tokens"),
        output=_per_million(provider, model, at, "output_tokens"),
        cached=_per_million(provider, model, at, "input_tokens", "cache_read_tokens"),
    )


def _per_million(provider: str, model: str, at: datetime, *kinds: str) -> Decimal:
    """Price a call of the kinds, brought up to a million tokens: so what is free is as the table has it."""
    from genai_prices import Usage, calc_price  # noqa: PLC0415  (0.2 s to import)

    usage = Usage(**dict.fromkeys(kinds, CALL))
    try:
        found = calc_price(usage, model_ref=model, provider_id=LISTED_AS.get(provider, provider), genai_request_timestamp=at)
    except LookupError as error:
        raise UnknownPrice(
            f"No price is known for {provider}/{model}: set one under Prices in the admin, or choose a model that genai-prices lists."
        ) from error
    return Decimal(found.total_price) * MILLION / CALL
