"""What a model's tokens cost now."""

from __future__ import annotations

from quota.domain.prices import Price
from quota.gateways import price_table


def price_of(provider: str, model: str) -> Price:
    """Return the model's price per million tokens. Raises UnknownPrice."""
    return price_table.price_of(model, provider=provider)
