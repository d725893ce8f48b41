"""The waits of an invocation that has none: each is refused, in the same words as by a contract that lets nothing wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from agents.domain.errors import WaitUnavailable
from agents.domain.values import Json
from agents.domain.waits import Child, Outcome, Question, Spawn
from invocation.domain.modes import WaitKind


def unavailable(kind: WaitKind) -> WaitUnavailable:
    """Return the refusal of a wait: in the same words wherever it is refused, so that they tell an agent nothing."""
    return WaitUnavailable(f"This endpoint's contract lets no run wait here (what for: {kind}).")


class NoWaits:
    """Nobody waits while a person waits for words, or for a row."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def answers(self, questions: Sequence[Question], *, until: datetime | None) -> Mapping[str, Json]:
        raise unavailable(WaitKind.PERSON)

    async def open_callback(self, key: str) -> str:
        raise unavailable(WaitKind.CALLBACK)

    async def called(self, key: str, *, until: datetime | None) -> Json:
        raise unavailable(WaitKind.CALLBACK)

    async def reached(self, moment: datetime) -> None:
        raise unavailable(WaitKind.TIME)

    async def spawn(self, spawn: Spawn) -> Sequence[str]:
        raise unavailable(WaitKind.CHILDREN)

    async def joined(self, children: Sequence[Child], *, until: datetime | None) -> Sequence[Outcome]:
        raise unavailable(WaitKind.CHILDREN)
