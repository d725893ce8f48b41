"""A p0 worker for tests: it takes a turn with the product's own services and speaks the words that it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from invocation.domain.turns import EventType, TurnMove, TurnState
from invocation.gateways.database import off_loop
from invocation.gateways.writing import StreamWriter
from invocation.models import Turn
from invocation.services import turns
from invocation.services.pens import Pen
from invocation.services.turns import Ending
from tests.integration.invocation.rows import a_process

LOOK_S = 0.02


@asynccontextmanager
async def a_performer(words: Sequence[str] = ("Read ", "Monster."), *, slots: int = 10) -> AsyncIterator[None]:
    """Live as a p0 process, and answer every queued turn with these words."""
    await off_loop(a_process, "p0", slots=slots, now=datetime.now(UTC))
    task = asyncio.create_task(_perform_for_ever(words))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _perform_for_ever(words: Sequence[str]) -> None:
    writer, owner = StreamWriter(), uuid4()
    try:
        while True:
            for turn_id in await off_loop(_queued):
                await _perform(turn_id, words, writer=writer, owner=owner)
            await asyncio.sleep(LOOK_S)
    finally:
        await writer.aclose()


async def _perform(turn_id: UUID, words: Sequence[str], *, writer: StreamWriter, owner: UUID) -> None:
    (claimed,) = await off_loop(turns.claim, [turn_id], owner=owner)
    if claimed is None:
        return
    turn, pen = claimed.turn, Pen(writer, str(claimed.turn.session_id), claimed.base)
    pen.write(EventType.TURN_STARTED, {"turn": str(turn.pk), "number": turn.number, "attempt": turn.attempt})
    for word in words:
        pen.write(EventType.DELTA, {"text": word})
    event = pen.last(EventType.TURN_COMPLETED, {"turn": str(turn.pk), "text": "".join(words)})
    await off_loop(turns.finish, turn, _ending(event, words), None)
    pen.write_last(event)
    await writer.drain()


def _ending(event: dict[str, Any], words: Sequence[str]) -> Ending:
    return Ending(move=TurnMove.COMPLETE, event=event, text="".join(words), output={"text": "".join(words)}, last_seq=event["seq"])


def _queued() -> list[UUID]:
    return list(Turn.objects.filter(state=TurnState.QUEUED).values_list("pk", flat=True))
