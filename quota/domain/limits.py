"""How a model's limits are shared by the priority classes, as nested pools.

All calls draw on the whole limit, all but p0 also on what p0's reserve leaves, and p3 also on its
cap. So nobody can take p0's reserve, and p3 borrows what is idle, up to its cap.
"""

from __future__ import annotations

from dataclasses import dataclass

from quota.domain.classes import PriorityClass
from quota.domain.errors import CanNeverFit

PACE = 4  # no pool gives more than a quarter of its minute in ten seconds: a burst leaves something for those who come next


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a provider allows for one model in any minute; `p0_reserved` and `p3_cap` are fractions of it."""

    tokens_per_minute: int
    requests_per_minute: int
    p0_reserved: float
    p3_cap: float


UNKNOWN_MODEL = Limits(tokens_per_minute=200_000, requests_per_minute=500, p0_reserved=0.3, p3_cap=0.4)


@dataclass(frozen=True, slots=True)
class Pool:
    """What may be drawn from one pool in any minute."""

    tokens: int
    requests: int

    @property
    def burst_tokens(self) -> int:
        """The most that ten seconds, and so one call, may take."""
        return self.tokens // PACE

    @property
    def burst_requests(self) -> int:
        return min(max(self.requests // PACE, 1), self.requests)


def pools(limits: Limits, priority_class: PriorityClass) -> tuple[Pool, ...]:
    """Return the pools that a call of the class draws on, widest first."""
    shared = 1 - limits.p0_reserved
    nested = (_share(limits, 1), _share(limits, shared), _share(limits, min(shared, limits.p3_cap)))
    return nested[: _DEPTH[priority_class]]


def check_fits(limits: Limits, priority_class: PriorityClass, *, tokens: int) -> None:
    """Raise CanNeverFit if the class's narrowest pool would refuse the call even when nobody else calls."""
    narrowest = pools(limits, priority_class)[-1]
    if tokens > narrowest.burst_tokens or narrowest.burst_requests < 1:
        raise CanNeverFit(
            f"A call of {tokens} tokens exceeds the {narrowest.burst_tokens} that may be reserved at once: "
            "shorten it, or raise the model's quota."
        )


_DEPTH = {PriorityClass.P0: 1, PriorityClass.P1: 2, PriorityClass.P2: 2, PriorityClass.P3: 3}


def _share(limits: Limits, fraction: float) -> Pool:
    return Pool(int(limits.tokens_per_minute * fraction), int(limits.requests_per_minute * fraction))
