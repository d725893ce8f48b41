from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest

from invocation.domain.measures import FIRST_DELTA, GAP, HEARTBEATS, RETRACTIONS
from invocation.domain.sessions import Line
from invocation.gateways.streams import Event
from invocation.services import tallies
from invocation.services.passing import MOST_TEXT, SLOW_S, Meter, gathered


def an_event(seq: int, kind: str = "delta", **data: Any) -> Event:
    return Event(seq, kind, "2026-01-01T00:00:00Z", data or ({"text": f"{seq} "} if kind == "delta" else {}))


async def source(events: Sequence[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event


async def passed(events: Sequence[Event], *, reads_in_s: float) -> list[Event]:
    found = []
    async for event in gathered(source(events)):
        found.append(event)
        await asyncio.sleep(reads_in_s)
    return found


@pytest.fixture(autouse=True)
def nothing_untold() -> None:
    tallies.take()


async def test_a_quick_reader_is_sent_each_event_as_it_is() -> None:
    events = [an_event(1, "turn.started"), *(an_event(seq) for seq in range(2, 20)), an_event(20, "turn.completed")]

    assert await passed(events, reads_in_s=0) == events


async def test_a_slow_reader_is_sent_what_gathered_as_one_delta_that_says_which_it_stands_for() -> None:
    events = [*(an_event(seq) for seq in range(1, 9)), an_event(9, "retracted"), an_event(10), an_event(11), an_event(12, "turn.failed")]
    found = await passed(events, reads_in_s=SLOW_S * 1.5)

    assert [(event.type, event.data.get("from", event.seq), event.seq) for event in found] == [
        ("delta", 1, 1),
        ("delta", 2, 8),
        ("retracted", 9, 9),
        ("delta", 10, 11),
        ("turn.failed", 12, 12),
    ]
    assert "".join(event.data["text"] for event in found if event.type == "delta") == "1 2 3 4 5 6 7 8 10 11 "


async def test_what_gathers_has_a_bound() -> None:
    events = [an_event(seq, text="x" * 1_000) for seq in range(1, 101)]
    found = await passed(events, reads_in_s=SLOW_S * 1.5)

    assert max(len(event.data["text"]) for event in found) <= MOST_TEXT + 1_000
    assert sum(len(event.data["text"]) for event in found) == 100_000


async def test_a_slow_reader_that_leaves_leaves_nothing_running() -> None:
    events = gathered(source([an_event(seq) for seq in range(1, 4)]))
    async for _ in events:
        await asyncio.sleep(SLOW_S * 1.5)
        break
    await events.aclose()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_slow_reader_that_is_cancelled_as_it_looks_ahead_ends_as_cancelled_and_leaves_nothing_running() -> None:
    async def reads() -> None:
        async with aclosing(interrupting()) as events, aclosing(gathered(events)) as each:
            async for _ in each:
                await asyncio.sleep(SLOW_S * 1.5)

    async def interrupting() -> AsyncGenerator[Event, None]:
        yield an_event(1)
        yield an_event(2)
        reading.cancel()  # it has asked what is ready behind the second
        await asyncio.sleep(60)

    reading = asyncio.create_task(reads())
    await asyncio.wait([reading])

    assert reading.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_connection_measures_what_it_is_sent() -> None:
    meter, turn = Meter("chat@1", Line.SSE), uuid4()
    meter.asked(turn, ago_s=0.3)
    for event in (
        an_event(1, "turn.started", turn=str(turn)),
        an_event(1, "heartbeat", waited_ms=2000),
        an_event(2),
        an_event(3),
        an_event(4, "retracted", reason="no"),
        an_event(5, "turn.failed", turn=str(turn), model_first_ms=200),
    ):
        meter.saw(event)
    told = tallies.take()

    assert told[HEARTBEATS.name, "chat@1", "sse"] == 1
    assert told[RETRACTIONS.name, "chat@1"] == 1
    assert told[FIRST_DELTA.name, "chat@1", "whole", tallies.SUM] == pytest.approx(0.3, abs=0.1)
    assert told[FIRST_DELTA.name, "chat@1", "model", tallies.SUM] == pytest.approx(0.2)
    assert told[FIRST_DELTA.name, "chat@1", "platform", tallies.SUM] == pytest.approx(0.1, abs=0.1)
    assert sum(amount for key, amount in told.items() if key[0] == GAP.name and key[-1] != tallies.SUM) == 1


async def test_a_turn_that_another_connection_asked_for_has_no_first_delta_here() -> None:
    meter = Meter("chat@1", Line.WEBSOCKET)
    meter.saw(an_event(1, "turn.started", turn=str(uuid4())))
    meter.saw(an_event(2))

    assert not [key for key in tallies.take() if key[0] == FIRST_DELTA.name]
