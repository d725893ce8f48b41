"""What a model call costs, in US dollars to six decimals, rounded up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

MILLION = 1_000_000
MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens; `cached` is what cached input tokens cost instead of `input`."""

    input: Decimal
    output: Decimal
    cached: Decimal


def cost(price: Price, *, input: int, output: int, cached: int = 0) -> Decimal:  # noqa: A002  (the words of every price list)
    """Return the cost of one call; `cached` of the `input` tokens are billed at the cached rate."""
    fresh = max(input - cached, 0)
    total = price.input * fresh + price.cached * min(cached, input) + price.output * output
    return (total / MILLION).quantize(MICRO, rounding=ROUND_UP)


def estimate(price: Price, *, input: int, max_output: int) -> Decimal:  # noqa: A002
    """Return the most that a call can cost: nothing cached, all of the answer used."""
    return cost(price, input=input, output=max_output)
