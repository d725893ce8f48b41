"""Reads the live gauges of every model that has a quota."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from quota import selectors
from quota.domain.gauges import DAY, MINUTE, REQUESTS, TOKENS, Gauge
from quota.domain.limits import Limits, nested
from quota.gateways import windows
from quota.gateways.windows import ModelKey, Reading

FIELDS = {(MINUTE, TOKENS): "tokens", (MINUTE, REQUESTS): "requests", (DAY, TOKENS): "day_tokens", (DAY, REQUESTS): "day_requests"}


def gauges() -> Sequence[Gauge]:
    """Return the gauges by provider and model, or raise QuotaStoreUnavailable. A day's gauges are there where a day is limited."""
    limits = selectors.limits_by_model()
    readings = windows.read(limits)
    return [gauge for key in sorted(limits) for gauge in _of_model(key, limits[key], readings[key])]


def _of_model(key: ModelKey, limits: Limits, reading: Reading) -> list[Gauge]:
    found = (_gauge(key, place, limits, reading) for place in FIELDS)
    return [gauge for gauge in found if gauge]


def _gauge(key: ModelKey, place: tuple[str, str], limits: Limits, reading: Reading) -> Gauge | None:
    whole, shared, capped = (getattr(pool, FIELDS[place]) for pool in nested(limits))
    if whole is None:
        return None
    window, unit = place
    used = reading.day if window == DAY else reading.minute
    share = 1.0 if window == DAY else reading.ceiling
    return Gauge(
        provider=key[0],
        model=key[1],
        window=window,
        unit=unit,
        limit=whole,
        ceiling=int(whole * share),
        used_by_class=MappingProxyType({word: int(getattr(each, unit)) for word, each in used.items()}),
        p0_reserved=whole - shared,
        p3_cap=capped,
        breaker=reading.breaker,
        lowered_until=reading.lowered_until,
    )
