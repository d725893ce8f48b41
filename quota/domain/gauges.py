"""What a model's quota looks like at this moment: one gauge for each window and unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from quota.domain.classes import PriorityClass

MINUTE, DAY = "minute", "day"
TOKENS, REQUESTS = "tokens", "requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One bucket. `ceiling` is what the limit is for now, after what the provider said; what is reserved for calls under way is used."""

    provider: str
    model: str
    window: str
    """`minute` or `day`."""
    unit: str
    """`tokens` or `requests`."""
    limit: int
    ceiling: int
    used_by_class: Mapping[PriorityClass, int]
    p0_reserved: int
    p3_cap: int
    breaker: str
    """`closed`, `open` or `half_open`."""
    lowered_until: datetime | None

    @property
    def used(self) -> int:
        return sum(self.used_by_class.values())
