"""What was used, summed: by what it may be grouped, and what a sum says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class Grouping(StrEnum):
    """What usage may be grouped by; the words of the API."""

    DAY = "day"
    TENANT = "tenant"
    ENDPOINT = "endpoint"
    MODE = "mode"
    CLASS = "priority_class"
    PROVIDER = "provider"
    MODEL = "model"


OF_A_TENANT = tuple(each for each in Grouping if each is not Grouping.TENANT)
"""What a tenant may group its own usage by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Sums of calls. The estimated parts are of usage that we counted ourselves because the provider reported none."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    estimated_calls: int = 0
    estimated_tokens: int = 0
    estimated_usd: Decimal = Decimal(0)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def cached_share(self) -> float:
        """The part of all input that the provider had cached."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else 0.0

    @property
    def estimated_share(self) -> float:
        """The part of the money that rests on our own counting."""
        return float(self.estimated_usd / self.cost_usd) if self.cost_usd else 0.0

    def __add__(self, other: Figures) -> Figures:
        return Figures(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(Figures)})


FIGURES = tuple(each.name for each in fields(Figures))


@dataclass(frozen=True, slots=True)
class Used:
    """The figures of one group: the value of each grouping, in the order that was asked for."""

    group: tuple[str, ...]
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which usage is meant: from a moment up to another, which itself is outside; empty filters leave everything in."""

    since: datetime
    until: datetime
    tenant_id: UUID | None = None
    only: Mapping[Grouping, str] = field(default_factory=dict)

    @property
    def first_day(self) -> date:
        return self.since.date()
