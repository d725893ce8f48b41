"""What can be made to go wrong at the offline provider: by share of the calls, or by a marker in the request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from random import Random
from types import MappingProxyType

from agents.domain.errors import ProviderDown

_MARKER = re.compile(r"\[\[fault:(\w+)\]\]")


class Fault(StrEnum):
    """One way to fail. The names are the markers' names."""

    RATE_LIMIT = "429"
    ERROR = "500"
    OVERLOAD = "529"
    STALL = "stall"
    CUT = "cut"
    BREAK = "break"
    SLOW = "slow"


class Overloaded(ProviderDown):
    """The offline provider was told to be overloaded; over HTTP each protocol has its own status for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often each fault happens, as a share of all calls, and whether `[[fault:429]]` in a request asks for one."""

    rate_limit: float = 0.0
    error: float = 0.0
    stall: float = 0.0
    cut: float = 0.0
    overload: float = 0.0
    retry_after: timedelta = timedelta(seconds=1)
    markers: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        shares = self.shares.values()
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError("The shares of faults must be at least 0 each and at most 1 together.")

    @property
    def shares(self) -> Mapping[Fault, float]:
        return MappingProxyType(
            {
                Fault.RATE_LIMIT: self.rate_limit,
                Fault.ERROR: self.error,
                Fault.STALL: self.stall,
                Fault.CUT: self.cut,
                Fault.OVERLOAD: self.overload,
            }
        )


class Draws:
    """Which call fails how: after every call each fault has happened as often as its share says, within one.

    The seed sets where the pattern starts; the same seed gives the same sequence.
    """

    def __init__(self, faults: Faults) -> None:
        self._shares: dict[Fault | None, float] = {fault: share for fault, share in faults.shares.items() if share}
        self._shares[None] = 1.0 - sum(self._shares.values())
        luck = Random(faults.seed)  # noqa: S311  (a test pattern, not secrecy)
        self._owed = {outcome: share * luck.random() for outcome, share in self._shares.items()}
        self._markers = faults.markers

    def draw(self, text: str) -> Fault | None:
        """Return this call's fault, if any. A marker in the text goes before the shares and leaves them as they are."""
        return self._marked(text) or self._next()

    def _marked(self, text: str) -> Fault | None:
        found = _MARKER.search(text) if self._markers else None
        return Fault(found[1]) if found and found[1] in set(Fault) else None

    def _next(self) -> Fault | None:
        for outcome, share in self._shares.items():
            self._owed[outcome] += share
        chosen = max(self._owed, key=lambda outcome: self._owed[outcome])
        self._owed[chosen] -= 1.0
        return chosen
