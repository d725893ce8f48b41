"""What a call costs, and which of several prices holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from quota.domain.errors import UnknownPrice
from quota.domain.prices import Dated, Price, PriceSource, cost, estimate, holding
from quota.gateways.price_table import price_of, source_of

PRICE = Price(input=Decimal("0.40"), output=Decimal("1.60"), cached=Decimal("0.10"))
NOW = datetime(2026, 11, 20, 12, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_input_output_and_cached_tokens_have_each_their_price() -> None:
    assert cost(PRICE, input=1_000_000, output=500_000, cached=400_000) == Decimal("1.080000")


def test_a_cost_is_rounded_up_to_a_millionth() -> None:
    assert cost(PRICE, input=1, output=0) == Decimal("0.000001")
    assert cost(PRICE, input=0, output=0) == 0


def test_no_call_costs_more_than_its_estimate() -> None:
    assert estimate(PRICE, input=700, max_output=512) >= cost(PRICE, input=700, output=512, cached=300)


def test_where_cached_tokens_are_dearer_the_estimate_counts_them_so() -> None:
    odd = Price(input=Decimal(1), output=Decimal(1), cached=Decimal(9))

    assert estimate(odd, input=700, max_output=512) >= cost(odd, input=700, output=512, cached=700)


def test_the_offline_models_have_the_declared_prices() -> None:
    assert price_of("gearbox-offline-standard", provider="offline", at=NOW).output == Decimal("1.60")
    assert price_of("gearbox-offline-economy", provider="offline", at=NOW).input == Decimal("0.10")
    assert source_of("gearbox-offline-economy") is PriceSource.OFFLINE


def test_a_real_model_is_priced_from_the_published_table() -> None:
    price = price_of("gpt-4o-mini", provider="openai", at=NOW)

    assert (price.input, price.output, price.cached) == (Decimal("0.15"), Decimal("0.6"), Decimal("0.075"))
    assert source_of("gpt-4o-mini") is PriceSource.TABLE


def test_a_model_without_a_price_is_refused_by_name_with_the_remedy() -> None:
    with pytest.raises(UnknownPrice, match=r"openai/no-such-model.*set one"):
        price_of("no-such-model", provider="openai", at=NOW)


def test_of_what_was_said_the_last_holds_from_its_very_moment() -> None:
    said = [Dated(NOW, PRICE), Dated(NOW + HOUR, None)]

    assert holding(said, NOW - timedelta(microseconds=1)) is None
    assert holding(said, NOW) == said[0]
    assert holding(said, NOW + HOUR - timedelta(microseconds=1)) == said[0]
    assert holding(said, NOW + HOUR) == said[1]
