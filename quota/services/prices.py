"""What a model's tokens cost at a moment: what an operator said of it, or else the table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction

from quota.domain.errors import PriceInEffect, PriceRefused
from quota.domain.prices import Dated, Price, PriceSource, holding
from quota.gateways import price_table
from quota.models import ModelPrice
from quota.selectors.prices import Overrides, overrides
from quota.services import changes
from quota.services.snapshots import Snapshot

_said: Snapshot[Overrides] = Snapshot(overrides, nothing={})
forget = _said.forget


@dataclass(frozen=True, slots=True)
class Effective:
    """The price that holds, who says so, and from when on where an operator does."""

    price: Price
    source: PriceSource
    said: Dated | None = None


async def price_of(provider: str, model: str, *, at: datetime) -> Price:
    """Return the model's price per million tokens at a moment. Raises UnknownPrice.

    What an operator said holds in every process within 5 s, and a price that was said ahead of
    time from its very moment on.
    """
    last = _last_said(await _said.fresh(), provider, model, at)
    return last.price if last and last.price else price_table.price_of(model, provider=provider, at=at)


def effective(provider: str, model: str, *, at: datetime, said: Overrides | None = None) -> Effective:
    """Return which price holds at a moment, and why; reads what operators said unless it is given. Raises UnknownPrice."""
    last = _last_said(overrides() if said is None else said, provider, model, at)
    if last and last.price:
        return Effective(last.price, PriceSource.OVERRIDE, last)
    return Effective(price_table.price_of(model, provider=provider, at=at), price_table.source_of(model), last)


def _last_said(said: Overrides, provider: str, model: str, at: datetime) -> Dated | None:
    dated = said.get((provider, model))
    return holding(dated, at) if dated else None


def set_price(row: ModelPrice, *, by: str, now: datetime) -> ModelPrice:
    """Set a model's price from the row's moment on, at the earliest from now. Raises PriceRefused, naming the field."""
    row.set_by, row.set_at, row.valid_from = by, now, row.valid_from or now
    if row.valid_from < now:
        raise PriceRefused("A price cannot reach back: calls were paid already. Leave it empty for now.", field="valid_from")
    try:
        with transaction.atomic():
            changes.add(row, by=by, now=now, reason=row.reason)
    except IntegrityError as refused:
        raise PriceRefused(f"The database refuses this price: {refused}".splitlines()[0], field="valid_from") from refused
    forget()
    return row


def withdraw(row: ModelPrice, *, by: str, now: datetime) -> None:
    """Take back a price that has not come into effect. Raises PriceInEffect."""
    if row.valid_from <= now:
        raise PriceInEffect(f"{row} is in effect, calls were paid by it: supersede it by another price.")
    changes.delete(row, by=by, now=now)
    forget()
