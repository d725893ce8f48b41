"""Deciding about canaries without a deploy; each decision names who took it and stays on record."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from invocation.domain.endpoints import Canary
from invocation.domain.errors import InputInvalid
from invocation.gateways import declared
from invocation.models import CanaryChange
from invocation.models.canaries import ALL
from invocation.selectors import canaries
from invocation.services import contracts


def decide(label: str, *, agent_version: int, percent: Decimal, reason: str, by: Any, now: datetime) -> CanaryChange:
    """Let another version of its agent take this percentage of an endpoint's runs, none at 0, in every process within seconds.

    What was accepted before keeps its version. Raises UnknownEndpoint, UnknownVersion, EndpointRetired, or
    InputInvalid naming the field.
    """
    endpoint = declared.book().find(label)
    if not 0 <= percent < ALL:
        raise InputInvalid(f"/percent: at least 0 and less than {ALL}.", field="/percent", found=str(percent))
    if percent:
        faults = contracts.canary_faults(endpoint, Canary(agent_version, float(percent)))
        if faults:
            raise InputInvalid(f"/agent_version: {faults[0]}", field="/agent_version", found=agent_version)
    decided = CanaryChange.objects.create(
        endpoint=label, agent_version=agent_version, percent=percent, reason=reason, changed_by=by, changed_at=now
    )
    canaries.forget()
    return decided


def unsound() -> list[str]:
    """Return what is wrong with the decisions that hold: a version that a deploy took away, an endpoint that is gone or retired."""
    return [why for row in canaries.decisions() if row.percent for why in _faults(row)]


def _faults(row: CanaryChange) -> list[str]:
    endpoint = declared.book().by_label.get(row.endpoint)
    if endpoint is None or endpoint.successor:
        return []
    return [f"{row.endpoint}: {why}" for why in contracts.canary_faults(endpoint, Canary(row.agent_version, float(row.percent)))]
