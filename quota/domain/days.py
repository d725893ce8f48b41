"""A tenant's day: how much money and how many tokens its plan allows from midnight to midnight UTC, and what of it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from quota.domain.budgets import NONE, Spending
from quota.domain.errors import DaySpent, DayTokensSpent, LargerThanDay
from quota.domain.prices import MILLION
from quota.domain.resources import Resource

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class DayLimits:
    """What a plan allows a day; None is no limit."""

    usd: Decimal | None = None
    tokens: int | None = None

    @property
    def is_limited(self) -> bool:
        return self.usd is not None or self.tokens is not None

    def lacking(self, used: Spending, more: Spending) -> Resource | None:
        """Return what of the day would not be enough for so much more, or nothing."""
        if self.usd is not None and used.usd + more.usd > self.usd:
            return Resource.MONEY
        if self.tokens is not None and used.tokens + more.tokens > self.tokens:
            return Resource.TOKENS
        return None

    def check_fits(self, amount: Spending) -> None:
        """Raise LargerThanDay for what not even a whole day has room for."""
        what = self.lacking(NONE, amount)
        if what is Resource.MONEY:
            raise LargerThanDay(what=what, limit=self.usd or Decimal(0), found=amount.usd)
        if what is Resource.TOKENS:
            raise LargerThanDay(what=what, limit=self.tokens or 0, found=amount.tokens)

    def less(self, used: Spending) -> DayLimits:
        """Return what is left of them."""
        usd = None if self.usd is None else max(Decimal(0), self.usd - used.usd)
        return DayLimits(usd, None if self.tokens is None else max(0, self.tokens - used.tokens))

    def is_spent(self, used: Spending) -> Resource | None:
        """Return what of the day is gone altogether, or nothing."""
        if self.usd is not None and used.usd >= self.usd:
            return Resource.MONEY
        return Resource.TOKENS if self.tokens is not None and used.tokens >= self.tokens else None

    def quarter_of_rest(self, used: Spending) -> DayLimits:
        """Return what one process may spend while nobody counts for all: a share small enough for several of them."""
        rest = self.less(used)
        return DayLimits(None if rest.usd is None else rest.usd / SHARERS, None if rest.tokens is None else rest.tokens // SHARERS)


SHARERS = 4
UNLIMITED = DayLimits()


@dataclass(frozen=True, slots=True)
class DayStanding:
    """What of a day's limits is used or set aside, and in how many seconds the day ends."""

    limits: DayLimits
    used: Spending
    ends_in_s: int
    held: Spending = NONE
    """What of it is only set aside, for calls that are under way."""

    @property
    def spent(self) -> Resource | None:
        """Return what of the day is gone altogether, whatever comes back of the calls that are under way; or nothing."""
        return self.limits.is_spent(self.used - self.held)

    def in_whole_units(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield each limit's name, unit, size and rest in whole numbers: money in millionths of a US dollar."""
        if self.limits.usd is not None:
            yield "daily-money", "micro-usd", _millionths(self.limits.usd), _millionths(max(Decimal(0), self.limits.usd - self.used.usd))
        if self.limits.tokens is not None:
            yield "daily-tokens", "tokens", self.limits.tokens, max(0, self.limits.tokens - self.used.tokens)


@dataclass(frozen=True, slots=True)
class DayHold:
    """What one call has set aside of its tenant's day."""

    id: UUID
    tenant_id: UUID
    day: date
    amount: Spending
    is_local: bool = False
    """Set aside in this process alone, because the store was away."""


def _millionths(usd: Decimal) -> int:
    return int(usd * MILLION)


def day_of(now: datetime) -> date:
    return now.astimezone(UTC).date()


def begins_at(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def ends_in(now: datetime) -> timedelta:
    """Return how long the day still lasts; never nothing."""
    return begins_at(day_of(now) + timedelta(days=1)) - now


def refusal(what: Resource, limits: DayLimits, used: Spending, *, now: datetime) -> DaySpent:
    """Return the error that says what of the day is gone, and when the next begins."""
    if what is Resource.MONEY:
        return DaySpent(limit=limits.usd or Decimal(0), used=used.usd, retry_after=ends_in(now))
    return DayTokensSpent(limit=limits.tokens or 0, used=used.tokens, retry_after=ends_in(now))
