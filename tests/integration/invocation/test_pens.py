"""Writing a session's log: frames, and a fence by seq."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from invocation.domain.turns import SEQS_OF_A_CLAIM, EventType
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


def test_of_progress_the_newest_is_written_once_a_frame_behind_the_words_and_before_what_follows(on_loop: OnLoop[Any]) -> None:
    async def story() -> list[Event]:
        writer = StreamWriter()
        pen = pen_of(writer, "progress")
        pen.delta("one ")
        for done in range(5_000):
            pen.progress({"done": done})
        pen.delta("two")
        await asyncio.sleep(2 * FRAME_S)
        pen.progress({"done": 5_000})
        pen.write(EventType.PLAN_READY, {"summary": "ready"})
        await writer.drain()
        await writer.aclose()
        return await log_of("progress")

    events = on_loop(story())
    assert [event.type for event in events] == ["delta", "delta", "progress", "progress", "plan.ready"]
    assert [event.data["done"] for event in events if event.type == "progress"] == [4_999, 5_000]


@pytest.mark.parametrize("is_retracted", [False, True])
def test_an_attempt_uses_no_more_seqs_than_its_claim_set_aside(on_loop: OnLoop[Any], *, is_retracted: bool) -> None:
    async def story() -> tuple[int, list[Event]]:
        writer = StreamWriter()
        pen = pen_of(writer, "full")
        for number in range(SEQS_OF_A_CLAIM):
            pen.delta(f"{number} ")
            pen.flush()
            pen.progress({"done": number})
            pen.write(EventType.PLAN_READY, {"summary": "again"})
        if is_retracted:
            pen.write(EventType.RETRACTED, {"reason": "a secret", "verifier": "v"})
        pen.write_last(pen.last(EventType.TURN_FAILED, {}))
        successor = pen_of(writer, "full", base=SEQS_OF_A_CLAIM)
        successor.write(EventType.TURN_STARTED, {"attempt": 2})
        await writer.drain()
        await writer.aclose()
        return pen.seq, await log_of("full")

    used, events = on_loop(story())
    text = "".join(event.data["text"] for event in events if event.type == "delta")
    assert used <= SEQS_OF_A_CLAIM
    assert [event.type for event in events[-3:]] == ["retracted" if is_retracted else "delta", "turn.failed", "turn.started"]
    assert [event.seq for event in events[-3:]] == [used - 1, used, SEQS_OF_A_CLAIM + 1]
    assert is_retracted or text.endswith(f" {SEQS_OF_A_CLAIM - 1} ")


def test_what_cannot_be_written_takes_no_seq_and_half_a_character_costs_only_itself(on_loop: OnLoop[Any]) -> None:
    async def story() -> list[Event]:
        writer = StreamWriter()
        pen = pen_of(writer, "odd")
        with pytest.raises(TypeError):
            pen.write(EventType.PLAN_READY, {"summary": object()})
        pen.progress({"note": "half \ud83d"})
        pen.write(EventType.PLAN_READY, {"summary": "ready"})
        await writer.drain()
        await writer.aclose()
        return await log_of("odd")

    assert [(event.seq, event.type) for event in on_loop(story())] == [(1, "progress"), (2, "plan.ready")]


def test_a_pen_that_cannot_write_keeps_no_other_of_its_frame_from_writing(on_loop: OnLoop[Any]) -> None:
    class Broken:
        def flush(self) -> None:
            raise TypeError("a defect")

    async def story() -> list[Event]:
        writer = StreamWriter()
        pen = pen_of(writer, "beside")
        pen.delta("one ")
        writer.gather(Broken())
        pen.delta("two")
        await asyncio.sleep(2 * FRAME_S)
        await writer.drain()
        await writer.aclose()
        return await log_of("beside")

    assert [event.data["text"] for event in on_loop(story())] == ["one ", "two"]
