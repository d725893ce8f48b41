"""Writing a session's log: frames, and a fence by seq."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from invocation.domain.turns import EventType
from invocation.gateways import streams
from invocation.gateways.streams import Event
from invocation.gateways.writing import FEW, FRAME_S, LONGEST_FRAME_S, StreamWriter, frame_s
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


def test_what_can_wait_goes_with_the_next_that_cannot_and_within_a_frame_where_nothing_comes(on_loop: OnLoop[Any]) -> None:
    async def story() -> None:
        writer = StreamWriter()
        pen, other = pen_of(writer, "patient"), pen_of(writer, "other")
        pen.write(EventType.TURN_STARTED, {"turn": "one"})
        pen.write(EventType.PLAN_READY, {"summary": "talk"})
        await asyncio.sleep(FRAME_S / 4)
        assert await log_of("patient") == []
        other.delta("at once")
        await until(lambda: _has("patient", 2))
        other.delta("gathered")
        other.last(EventType.TURN_COMPLETED, {})
        await until(lambda: _has("other", 2))
        await writer.aclose()

    async def _has(session: str, count: int) -> bool:
        return len(await log_of(session)) == count

    on_loop(story())


def test_a_frame_is_longer_the_more_speak_and_never_longer_than_the_longest() -> None:
    lengths = [frame_s(pens) for pens in range(4 * FEW)]

    assert set(lengths[: FEW + 1]) == {FRAME_S}
    assert lengths == sorted(lengths)
    assert FRAME_S < frame_s(FEW + 1) < frame_s(2 * FEW) == lengths[-1] == pytest.approx(LONGEST_FRAME_S)


def test_those_who_spoke_in_a_frame_decide_how_long_the_next_one_is(on_loop: OnLoop[Any]) -> None:
    class Noting:
        def __init__(self) -> None:
            self.at_s: list[float] = []

        def flush(self) -> None:
            self.at_s.append(asyncio.get_running_loop().time())

    async def story() -> float:
        writer, pen = StreamWriter(), Noting()
        for other in (pen, *(Noting() for _ in range(2 * FEW))):
            writer.gather(other)
        await until(lambda: _flushed(pen, 1))
        writer.gather(pen)
        began = asyncio.get_running_loop().time()
        await until(lambda: _flushed(pen, 2))
        await writer.aclose()
        return pen.at_s[1] - began

    async def _flushed(pen: Noting, count: int) -> bool:
        return len(pen.at_s) == count

    assert on_loop(story()) > LONGEST_FRAME_S - 0.01


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
