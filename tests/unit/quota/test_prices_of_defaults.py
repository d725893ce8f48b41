"""Every model that a provider uses by default has a price."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agents.gateways.providers import MODELS
from quota.gateways.price_table import price_of


@pytest.mark.parametrize(("provider", "model"), [(provider, model) for provider, tiers in MODELS.items() for model in tiers.values()])
def test_the_models_of_every_tier_are_priced(provider: str, model: str) -> None:
    price = price_of(model, provider=provider)

    assert price.output > price.input > price.cached > 0


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_a_model_that_is_dearer_for_long_prompts_costs_what_a_prompt_of_ours_costs(provider: str) -> None:
    price = price_of(list(MODELS[provider].values())[1], provider=provider)

    assert (price.input, price.output, price.cached) == (Decimal("0.1"), Decimal("0.5"), Decimal("0.01"))
