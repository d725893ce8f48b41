"""Writing a session's log: frames, and a fence by seq."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from invocation.domain.turns import EventType
from invocation.gateways import streams
from invocation.gateways.streams import Event
from invocation.gateways.writing import FRAME_S, StreamWriter
from invocation.services.pens import Pen
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.hearing import WORDS

pytestmark = pytest.mark.usefixtures("wiped")


def pen_of(writer: StreamWriter, session: str, base: int = 0) -> Pen:
    return Pen(writer, session, base)


async def log_of(session: str) -> list[Event]:
    async with streams.client() as store:
        return await streams.read_after(store, session, 0)


def test_the_first_delta_goes_at_once_and_later_ones_once_a_frame(on_loop: OnLoop[Any]) -> None:
    async def story() -> list[Event]:
        writer = StreamWriter()
        pen = pen_of(writer, "frames")
        for word in WORDS:
            pen.delta(word)
        await asyncio.sleep(2 * FRAME_S)
        pen.delta("after the frame")
        pen.write(EventType.PROGRESS, {"done": 1})
        await writer.drain()
        await until(lambda: _has(4))
        await writer.aclose()
        return await log_of("frames")

    async def _has(count: int) -> bool:
        return len(await log_of("frames")) == count

    events = on_loop(story())
    assert [event.data.get("text") for event in events] == [WORDS[0], "".join(WORDS[1:]), "after the frame", None]
    assert [event.seq for event in events] == [1, 2, 3, 4]


def test_a_writer_that_was_fenced_out_cannot_write_behind_a_newer_one(on_loop: OnLoop[Any]) -> None:
    async def story() -> list[Event]:
        writer = StreamWriter()
        zombie, successor = pen_of(writer, "fenced"), pen_of(writer, "fenced", base=4_096)
        zombie.write(EventType.TURN_STARTED, {"attempt": 1})
        await until(lambda: _holds(1))
        successor.write(EventType.TURN_STARTED, {"attempt": 2})
        await until(lambda: _holds(2))
        zombie.delta("a dead voice")
        successor.delta("a living voice")
        await until(lambda: _holds(3))
        await writer.drain()
        await writer.aclose()
        return await log_of("fenced")

    async def _holds(count: int) -> bool:
        return len(await log_of("fenced")) == count

    assert [(event.seq, event.data.get("text")) for event in on_loop(story())] == [(1, None), (4_097, None), (4_098, "a living voice")]


def test_what_a_turn_showed_is_read_back_from_its_last_beginning(wiped: redis.Redis) -> None:
    told = [
        ("turn.started", {"turn": "one"}),
        ("delta", {"text": "lost"}),
        ("turn.started", {"turn": "two"}),
        ("delta", {"text": "a "}),
        ("delta", {"text": "b"}),
    ]
    for seq, (kind, data) in enumerate(told, start=1):
        wiped.xadd(streams.key("s"), {"e": streams.Event(seq, kind, "", data).as_bytes()}, id=f"{seq}-0")

    assert (streams.shown_text("s", "two"), streams.shown_text("s", "three")) == ("a b", "")
