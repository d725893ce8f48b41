"""What this process has measured of its streams and not told yet. On the loop only; what dies with a process is at most a second's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from uuid import UUID

from invocation.domain.measures import Counter, Histogram
from invocation.gateways import shared_counts
from invocation.gateways.shared_counts import Tally

SUM = "sum"
_untold: defaultdict[Tally, float] = defaultdict(float)


def count(counter: Counter, *labels: str) -> None:
    _untold[counter.name, *labels] += 1


def observe(histogram: Histogram, seconds: float, *labels: str) -> None:
    _untold[histogram.name, *labels, str(histogram.bucket(seconds))] += 1
    _untold[histogram.name, *labels, SUM] += seconds


def take() -> Mapping[Tally, float]:
    """Hand over what is untold."""
    taken = dict(_untold)
    _untold.clear()
    return taken


def put_back(taken: Mapping[Tally, float]) -> None:
    """Keep what could not be told."""
    for tally, amount in taken.items():
        _untold[tally] += amount


def are_untold() -> bool:
    return bool(_untold)


def streams_of(tenant_id: UUID) -> int | None:
    """Return how many streams of a tenant are open; None while nobody can say. Blocks."""
    try:
        return shared_counts.open_of(tenant_id)
    except shared_counts.GONE:
        return None


def told() -> tuple[Mapping[str, int], Mapping[Tally, float]] | None:
    """Return what all processes have told: open streams by endpoint and line, and tallies; None while nobody can say. Blocks."""
    try:
        return shared_counts.open_now(), shared_counts.tallied()
    except shared_counts.GONE:
        return None
