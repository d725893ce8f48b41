"""Schedules and their firings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    id: str
    name: str
    endpoint: str
    cron: str
    timezone: str
    input: Mapping[str, Any]
    is_paused: bool
    next_fire_at: datetime
    created_at: datetime
    budget: Mapping[str, Any] | None = None
    last_fired_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """One firing, and the job that it started."""

    due_at: datetime
    fired_at: datetime
    state: str
    job: str
    finished_at: datetime | None = None
