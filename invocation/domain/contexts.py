"""Contexts: what a job's answer belongs to, and what happens to an answer that comes after its consumer has moved on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

KEY_LENGTH = 200
KEY = rf"^[A-Za-z0-9][A-Za-z0-9._~:@-]{{0,{KEY_LENGTH - 1}}}\Z"
"""What a key looks like: it is a segment of an address."""
MOST_VERSION = 2**53 - 1


class Relevance(StrEnum):
    """What is done with a result whose context has a newer version by the time it is returned."""

    DELIVER = "deliver"
    ANNOTATE = "annotate"
    WITHHOLD = "withhold"


@dataclass(frozen=True, slots=True)
class Context:
    """The context that a job names, the version it was asked in, and what to do when it comes too late."""

    key: str
    version: int
    policy: Relevance = Relevance.ANNOTATE


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job's context was when the job was asked, and where it is at the moment of return."""

    asked: Context
    current_version: int

    @property
    def is_current(self) -> bool:
        return self.asked.version >= self.current_version

    @property
    def is_withheld(self) -> bool:
        """The result is kept and not handed out by itself."""
        return not self.is_current and self.asked.policy is Relevance.WITHHOLD

    def as_json(self) -> dict[str, Any] | None:
        """Return what a reader is told beside the answer; nothing where it is delivered whatever the version."""
        if self.asked.policy is Relevance.DELIVER:
            return None
        return {"is_current": self.is_current, "asked_version": self.asked.version, "current_version": self.current_version}
