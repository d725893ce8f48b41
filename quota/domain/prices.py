"""What a model call costs, in US dollars to six decimals, rounded up; and which of several prices holds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_UP, Decimal
from enum import StrEnum

MILLION = 1_000_000
MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens; `cached` is what cached input tokens cost instead of `input`."""

    input: Decimal
    output: Decimal
    cached: Decimal


class PriceSource(StrEnum):
    """Who says what a model costs: an operator, the table of published prices, or we for the offline models."""

    OVERRIDE = "override"
    TABLE = "table"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Dated:
    """What an operator said of a model from a moment on; no price hands it back to the table."""

    valid_from: datetime
    price: Price | None


def holding(said: Sequence[Dated], at: datetime) -> Dated | None:
    """Return what holds at a moment of what was said, given in the order of time; None if nothing was yet."""
    place = bisect_right(said, at, key=lambda each: each.valid_from)
    return said[place - 1] if place else None


def cost(price: Price, *, input: int, output: int, cached: int = 0) -> Decimal:  # noqa: A002  (the words of every price list)
    """Return the cost of one call; `cached` of the `input` tokens are billed at the cached rate."""
    total = price.input * max(input - cached, 0) + price.output * output
    if cached:
        total += price.cached * min(cached, input)
    return (total * MICRO).quantize(MICRO, ROUND_UP)


def estimate(price: Price, *, input: int, max_output: int) -> Decimal:  # noqa: A002
    """Return the most that a call can cost: nothing cached, all of the answer used."""
    total = max(price.input, price.cached) * input + price.output * max_output
    return (total * MICRO).quantize(MICRO, ROUND_UP)
