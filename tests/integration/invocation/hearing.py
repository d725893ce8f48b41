"""Turns of the trial, played on a worker and heard by a reader."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from invocation.domain.turns import EventType
from invocation.gateways.streams import Event
from invocation.models import Turn
from invocation.services import following
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import a_session, a_turn
from tests.integration.invocation.workers import turn_worker

WORDS = [f"word {number} " for number in range(12)]


def asked(given: dict[str, Any], *, endpoint: str = "trial-chat@1", session: Any = None, **columns: Any) -> Turn:
    return a_turn(session=session or a_session(), now=datetime.now(UTC), agent="trial@1", endpoint=endpoint, input=given, **columns)


async def heard(turn: Turn, *, after: int = 0) -> list[Event]:
    """Follow a turn to its end; heartbeats aside."""
    async with aclosing(following.follow_turn(turn.session_id, turn.pk, after=after)) as events:
        return [event async for event in events if event.type != EventType.HEARTBEAT]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.type == EventType.DELTA)


def shown(events: Sequence[Event]) -> str:
    """Return what a reader shows in the end: a gap tells all the text so far, to which deltas are added."""
    text = ""
    for event in events:
        if event.type == EventType.GAP:
            text = event.data["text"]
        elif event.type == EventType.DELTA:
            text += event.data["text"]
    return text


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]


def played(on_loop: OnLoop[Any], turn: Turn) -> list[Event]:
    async def story() -> list[Event]:
        async with turn_worker() as engine:
            reading = asyncio.create_task(heard(turn))
            engine.accept([turn.pk])
            return await reading

    found: list[Event] = on_loop(story())
    turn.refresh_from_db()
    return found
