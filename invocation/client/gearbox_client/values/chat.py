"""Chat sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLine:
    """A session in the list: when it began, when it was asked last, and its first question, cut at 200 characters."""

    id: str
    endpoint: str
    asked: str
    turns: int
    created_at: datetime
    asked_at: datetime | None
