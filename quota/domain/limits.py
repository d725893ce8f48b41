"""How a model's limits are shared by the priority classes, as nested pools.

All calls draw on the whole limit, all but p0 also on what p0's reserve leaves, and p3 also on its
cap. So nobody can take p0's reserve, and p3 borrows what is idle, up to its cap. The same holds for
the provider's day, where one is limited.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from quota.domain.classes import PriorityClass
from quota.domain.errors import CanNeverFit

PACE = 4  # a paced pool gives a quarter of its minute in ten seconds: a burst leaves something for those who come next
QUARTER_HOUR_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a provider allows for one model in any minute, and in a day of its own, where it limits that.

    `p0_reserved` and `p3_cap` are fractions of each; the day begins at midnight of `day_zone`.
    """

    tokens_per_minute: int
    requests_per_minute: int
    p0_reserved: float
    p3_cap: float
    tokens_per_day: int | None = None
    requests_per_day: int | None = None
    day_zone: str = "UTC"

    @property
    def limits_day(self) -> bool:
        return self.tokens_per_day is not None or self.requests_per_day is not None


UNKNOWN_MODEL = Limits(tokens_per_minute=200_000, requests_per_minute=500, p0_reserved=0.3, p3_cap=0.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What may be drawn from one pool in any minute, and in a day; None is no limit."""

    tokens: int
    requests: int
    day_tokens: int | None = None
    day_requests: int | None = None
    is_paced: bool = True
    """p0's way is not paced: a person waits, and the minute's limit holds all the same."""

    @property
    def burst_tokens(self) -> int | None:
        """The most that ten seconds may take; one call above it goes when the ten seconds are empty."""
        return self.tokens // PACE if self.is_paced else None

    @property
    def burst_requests(self) -> int | None:
        return min(max(self.requests // PACE, 1), self.requests) if self.is_paced else None


@lru_cache(maxsize=512)
def nested(limits: Limits) -> tuple[Pool, Pool, Pool]:
    """Return the three pools, widest first: of all, of all but p0, of p3."""
    shared = 1 - limits.p0_reserved
    return _share(limits, 1, is_paced=False), _share(limits, shared), _share(limits, min(shared, limits.p3_cap))


def pools(limits: Limits, priority_class: PriorityClass) -> tuple[Pool, ...]:
    """Return the pools that a call of the class draws on, widest first."""
    return nested(limits)[: _DEPTH[priority_class]]


def check_fits(limits: Limits, priority_class: PriorityClass, *, tokens: int) -> None:
    """Raise CanNeverFit if the class's narrowest pool would refuse the call even when nobody else calls."""
    narrowest = pools(limits, priority_class)[-1]
    most = min(narrowest.tokens, _bound(narrowest.day_tokens))
    if tokens > most or min(narrowest.requests, _bound(narrowest.day_requests)) < 1:
        raise CanNeverFit(
            f"A call of {tokens} tokens exceeds the {most} that {priority_class} may ever reserve: shorten it, or raise the model's quota."
        )


@lru_cache(maxsize=512)
def _midnights(zone: str, quarter: int) -> tuple[float, float, float, float]:
    place = ZoneInfo(zone)
    today = datetime.fromtimestamp(quarter * QUARTER_HOUR_S, tz=UTC).astimezone(place).date()
    first, second, third, fourth = (today + timedelta(days=ahead) for ahead in (-1, 0, 1, 2))
    return _begins(first, place), _begins(second, place), _begins(third, place), _begins(fourth, place)


def midnights(limits: Limits, *, at: float) -> tuple[float, float, float, float]:
    """Return when the day before, the day, and the two days after begin at the provider, in seconds since 1970."""
    return _midnights(limits.day_zone, int(at // QUARTER_HOUR_S))


_DEPTH = {PriorityClass.P0: 1, PriorityClass.P1: 2, PriorityClass.P2: 2, PriorityClass.P3: 3}


def _begins(day: object, place: ZoneInfo) -> float:
    return datetime.fromisoformat(str(day)).replace(tzinfo=place).timestamp()


def _bound(limit: int | None) -> float:
    return float("inf") if limit is None else limit


def _share(limits: Limits, fraction: float, *, is_paced: bool = True) -> Pool:
    return Pool(
        tokens=int(limits.tokens_per_minute * fraction),
        requests=int(limits.requests_per_minute * fraction),
        day_tokens=_part(limits.tokens_per_day, fraction),
        day_requests=_part(limits.requests_per_day, fraction),
        is_paced=is_paced,
    )


def _part(limit: int | None, fraction: float) -> int | None:
    return None if limit is None else int(limit * fraction)
