"""Redrives: which dead letters are started again, with what input, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from invocation.domain.states import Edge


class RedriveState(StrEnum):
    """`collecting`: its dead letters are being listed. `running`: they are being started again."""

    COLLECTING = "collecting"
    RUNNING = "running"
    COMPLETED = "completed"
    ABORTED = "aborted"


class RedriveMove(StrEnum):
    START = "start"
    COMPLETE = "complete"
    ABORT = "abort"


REDRIVE_OPEN = frozenset({RedriveState.COLLECTING, RedriveState.RUNNING})
REDRIVE_EDGES: Mapping[RedriveMove, Edge[RedriveState]] = MappingProxyType(
    {
        RedriveMove.START: Edge(frozenset({RedriveState.COLLECTING}), RedriveState.RUNNING),
        RedriveMove.COMPLETE: Edge(frozenset({RedriveState.RUNNING}), RedriveState.COMPLETED),
        RedriveMove.ABORT: Edge(REDRIVE_OPEN, RedriveState.ABORTED),
    }
)

LEAST_RATE, USUAL_RATE, MOST_RATE = 0.1, 20.0, 200.0
"""Jobs a second."""
MOST_IDS = 1_000
MOST_OPEN = 10
"""Redrives that one tenant may have open at a time; operators have as many together."""
MOST_REASON = 400
MOST_EDIT_BYTES = 65_536
BURST = timedelta(seconds=5)
"""What a sweep that was late may make up for."""


class AgentChoice(StrEnum):
    """Which agent version a redriven job runs: the one that the old job pinned, or the endpoint's own of today."""

    ORIGINAL = "original"
    CURRENT = "current"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which dead letters are meant; what is empty narrows nothing. `failed_after` is included, `failed_before` is not."""

    endpoint: str = ""
    cause: str = ""
    code: str = ""
    tenant_id: UUID | None = None
    failed_after: datetime | None = None
    failed_before: datetime | None = None

    def as_json(self) -> dict[str, str]:
        told = {name: getattr(self, name) for name in self.__slots__}
        return {name: value.isoformat() if isinstance(value, datetime) else str(value) for name, value in told.items() if value}

    @classmethod
    def of_json(cls, told: Mapping[str, str]) -> Match:
        read: dict[str, Callable[[str], Any]] = {
            "tenant_id": UUID,
            "failed_after": datetime.fromisoformat,
            "failed_before": datetime.fromisoformat,
        }
        return cls(**{name: read.get(name, str)(value) for name, value in told.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What a redriven job has otherwise than the old one: a whole input, or a patch of the old one, and its agent version."""

    input: Mapping[str, Any] | None = None
    patch: Mapping[str, Any] | None = None
    agent: AgentChoice = AgentChoice.ORIGINAL

    @property
    def is_of_input(self) -> bool:
        return self.input is not None or self.patch is not None

    def applied_to(self, old: Mapping[str, Any]) -> Mapping[str, Any]:
        base = old if self.input is None else self.input
        return base if self.patch is None else merged(base, self.patch)


AS_IT_WAS = Edit()


def merged(target: Any, patch: Any) -> Any:
    """Return the target with a JSON merge patch applied (RFC 7396): null removes a member, an object is merged, the rest replaces."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate, and the moment up to which it has been used."""

    rate: float
    since: datetime

    def due(self, now: datetime) -> int:
        """Return how many jobs may be started now; time beyond the burst is forfeited, so that nothing stampedes."""
        return max(0, math.floor((now - self._from(now)).total_seconds() * self.rate + 1e-3))

    def after(self, count: int, now: datetime) -> datetime:
        """Return up to which moment the rate is used when so many were started."""
        return self._from(now) + timedelta(seconds=count / self.rate)

    def _from(self, now: datetime) -> datetime:
        return max(self.since, now - max(BURST, timedelta(seconds=1 / self.rate)))
