"""What operators said that models cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from quota.domain.prices import Dated, Price
from quota.models import ModelPrice

Overrides = Mapping[tuple[str, str], Sequence[Dated]]


def overrides() -> Overrides:
    """Return, by provider and model, what was said of its price, in the order of time."""
    found: defaultdict[tuple[str, str], list[Dated]] = defaultdict(list)
    for row in ModelPrice.objects.order_by("valid_from"):
        found[row.provider, row.model].append(Dated(row.valid_from, price_in(row)))
    return dict(found)


def price_in(row: ModelPrice) -> Price | None:
    """Return the price that a row sets; None if it hands the model back to the table."""
    if row.input_usd is None or row.output_usd is None or row.cached_usd is None:
        return None
    return Price(input=row.input_usd, output=row.output_usd, cached=row.cached_usd)
