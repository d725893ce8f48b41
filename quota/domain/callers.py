"""Who is calling and what their key and plan allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from quota.domain.classes import PriorityClass
from quota.domain.days import UNLIMITED, DayLimits
from quota.domain.errors import ClassNotAllowed, ScopeMissing


class Scope(StrEnum):
    """What a key may do: invoke endpoints, read what was invoked, manage schedules and webhooks."""

    INVOKE = "invoke"
    READ = "read"
    MANAGE = "manage"


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What a plan promises. `in_flight` has every class; None is no cap. `connections` are streams open at once."""

    name: str
    weight: int
    requests_per_minute: int
    in_flight: Mapping[PriorityClass, int | None]
    day: DayLimits = UNLIMITED
    connections: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A tenant, as one of its keys shows it."""

    tenant_id: UUID
    tenant_name: str
    key_id: int
    scopes: frozenset[Scope]
    highest_class: PriorityClass
    plan: PlanTerms

    def require(self, scope: Scope) -> None:
        """Raise ScopeMissing unless the key has the scope."""
        if scope not in self.scopes:
            raise ScopeMissing(f"This key lacks the scope {scope}; create one that has it.")

    def require_class(self, asked: PriorityClass) -> None:
        """Raise ClassNotAllowed if the class is above the key's highest."""
        if not self.highest_class.allows(asked):
            raise ClassNotAllowed(f"This key may use {self.highest_class} and below, not {asked}.")
