"""Reads the live gauges of every model that has a quota."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from quota import selectors
from quota.domain.classes import PriorityClass
from quota.domain.gauges import MINUTE, REQUESTS, TOKENS, Gauge
from quota.domain.limits import Limits, Pool, pools
from quota.gateways import windows
from quota.gateways.windows import Used


def gauges() -> Sequence[Gauge]:
    """Return the gauges by provider and model, or raise QuotaStoreUnavailable. A day's gauges are there where a day is limited."""
    found = selectors.limits_by_model()
    used = windows.used(list(found))
    return [gauge for key in sorted(found) for gauge in _of_model(key, found[key], used[key])]


def _of_model(key: tuple[str, str], limits: Limits, used: Mapping[PriorityClass, Used]) -> list[Gauge]:
    return [_gauge(key, unit, pools(limits, PriorityClass.P3), used) for unit in (TOKENS, REQUESTS)]


def _gauge(key: tuple[str, str], unit: str, nested: tuple[Pool, ...], used: Mapping[PriorityClass, Used]) -> Gauge:
    whole, shared, capped = (int(getattr(pool, unit)) for pool in nested)
    return Gauge(
        provider=key[0],
        model=key[1],
        window=MINUTE,
        unit=unit,
        limit=whole,
        ceiling=whole,
        used_by_class=MappingProxyType({word: int(getattr(found, unit)) for word, found in used.items()}),
        p0_reserved=whole - shared,
        p3_cap=capped,
        breaker="closed",
        lowered_until=None,
    )
