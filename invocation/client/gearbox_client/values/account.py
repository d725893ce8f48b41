"""Contracts, and what was used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    items: int
    tokens: int
    body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    first_delta_ms: int
    whole_ms: int
    cost_usd: Decimal
    tokens: int
    model_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One published contract. `endpoint` is its label, `name@version`."""

    endpoint: str
    name: str
    version: int
    agent: str
    mode: str
    transport: str
    right_call: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    limits: Limits
    budgets: Budgets
    summary: str = ""
    deadline: str = ""
    verification: str = ""
    may_wait: tuple[str, ...] = ()
    escape: Mapping[str, Any] | None = None
    sibling: str | None = None
    successor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFigures:
    """Sums of model calls. Estimated are those whose tokens the platform counted, because the provider reported none."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    cached_tokens: int = 0
    estimated_calls: int = 0
    estimated_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine(UsageFigures):
    """One group; what was not grouped by is None."""

    day: date | None = None
    endpoint: str | None = None
    mode: str | None = None
    priority_class: str | None = None
    provider: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A page of groups. The cost and the totals are those of all pages; `next` is the cursor of the following one."""

    since: datetime
    until: datetime
    cost_usd: Decimal
    items: tuple[UsageLine, ...]
    totals: UsageFigures | None = None
    group_by: tuple[str, ...] = ()
    next: str | None = None
