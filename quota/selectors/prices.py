"""What operators said that models cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from django.db.models import QuerySet

from quota.domain.prices import Dated, Price
from quota.gateways.ledgers import LEDGERS
from quota.models import ModelPrice, ModelQuota

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


def models_in_use(*, since: date) -> list[tuple[str, str]]:
    """Return every (provider, model) that has a quota, an override, or a call since a day."""
    called: list[QuerySet[Any]] = [QuerySet(ledger.days).filter(day__gte=since) for ledger in LEDGERS]
    tables: list[QuerySet[Any]] = [ModelQuota.objects.all(), ModelPrice.objects.all(), *called]
    found = [rows.order_by().values_list("provider", "model").distinct() for rows in tables]
    return sorted({pair for rows in found for pair in rows})
