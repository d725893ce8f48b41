"""Events of jobs and of chats, and which of them are the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

ENDED = frozenset({"completed", "failed", "cancelled"})
"""The states of a job, a turn or a batch from which there is no way out."""
LAST_OF_A_JOB = frozenset(f"job.{state}" for state in ENDED)
LAST_OF_A_TURN = frozenset({"turn.completed", "turn.failed"})
HEARTBEAT = "heartbeat"
GAP = "gap"
"""A part of a chat's stream was lost on the server; the event brings the stored text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event under its place in the job's or the session's one sequence."""

    seq: int
    type: str
    at: datetime
    data: Mapping[str, Any]
