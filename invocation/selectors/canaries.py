"""Which version of its agent takes a run of an endpoint: what operators decided about canaries, over what is declared."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

from django.db.models import Avg, Count, Q, QuerySet

from invocation.domain.endpoints import Canary, Endpoint
from invocation.domain.outcomes import RunOutcome
from invocation.models import CanaryChange, RunRecord

FRESH_S = 2.0
"""A decision holds in every process after this time at the latest."""


def agent_for(endpoint: Endpoint, run_id: UUID) -> str:
    """Return the label of the agent version that takes a run. The same id always gets the same while nothing is decided anew.

    A turn asks by its session and a row by its batch, so that a conversation and a dataset keep one version.
    """
    return endpoint.agent_for(run_id, canary=of(endpoint))


def of(endpoint: Endpoint) -> Canary | None:
    """Return the canary that an endpoint has at this moment, or had two seconds ago."""
    return _decided().get(endpoint.label, endpoint.canary)


def decisions() -> QuerySet[CanaryChange]:
    """Return what was decided last of each endpoint."""
    return CanaryChange.objects.order_by("endpoint", "-id").distinct("endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFigures:
    """What one agent version did for an endpoint. Lengths are milliseconds, the cost is a run's mean in US dollars."""

    agent: str
    runs: int
    failures: int
    duration_ms: float
    cost_usd: Decimal


def compared(label: str, *, since: datetime) -> list[VersionFigures]:
    """Return the agent versions that ran for an endpoint since a moment, side by side; a batch's rows are not among them."""
    rows = RunRecord.objects.filter(endpoint=label, finished_at__gte=since).values("agent").order_by("agent")
    failed = Count("pk", filter=Q(outcome=RunOutcome.FAILED))
    found = rows.annotate(runs=Count("pk"), failures=failed, took=Avg("duration_ms"), cost=Avg("cost_usd"))
    return [
        VersionFigures(agent=row["agent"], runs=row["runs"], failures=row["failures"], duration_ms=row["took"], cost_usd=row["cost"])
        for row in found
    ]


Decided = Mapping[str, Canary | None]
_known: tuple[float, Decided] = (float("-inf"), MappingProxyType({}))


def _decided() -> Decided:
    """Return the decisions by endpoint; None says that it has no canary, whatever is declared. Threads that race read twice."""
    global _known  # noqa: PLW0603  (one memory a process)
    if time.monotonic() - _known[0] > FRESH_S:
        found = {row.endpoint: _canary(row) for row in decisions()}
        _known = (time.monotonic(), MappingProxyType(found))
    return _known[1]


def _canary(row: CanaryChange) -> Canary | None:
    return Canary(row.agent_version, float(row.percent)) if row.percent else None


def forget() -> None:
    """Let the next question read anew."""
    global _known  # noqa: PLW0603
    _known = (float("-inf"), MappingProxyType({}))
