"""A session's stream over a real store: in order, once each, through reconnects, wipes, dead writers and silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis

from invocation.domain.turns import EventType, TurnMove, TurnState
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.streams import FRAME_S, Event, StreamWriter
from invocation.models import Turn
from invocation.services import cancelling, following, overdue, turns
from invocation.services.pens import Pen
from invocation.services.turns import Ending
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import a_session, a_turn
from tests.integration.invocation.trial import DONE, GATES
from tests.integration.invocation.workers import at_rest, turn_worker

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]
WORDS = [f"word {number} " for number in range(12)]


def asked(given: dict[str, Any], *, endpoint: str = "trial-chat@1", session: Any = None, **columns: Any) -> Turn:
    return a_turn(session=session or a_session(), now=datetime.now(UTC), agent="trial@1", endpoint=endpoint, input=given, **columns)


async def heard(turn: Turn, *, after: int = 0) -> list[Event]:
    """Follow a turn to its end; heartbeats aside."""
    async with aclosing(following.follow_turn(turn.session_id, turn.pk, after=after)) as events:
        return [event async for event in events if event.type != EventType.HEARTBEAT]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.type == EventType.DELTA)


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


def test_a_turn_is_told_in_order_from_its_start_to_its_end(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": WORDS, "progress": "half"})
    events = played(on_loop, turn)

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert kinds(events)[:3] == ["turn.started", "progress", "plan.ready"]
    assert text_of(events) == "".join(WORDS) == turn.text
    assert (events[-1].type, events[-1].data["text"], turn.state) == ("turn.completed", turn.text, "completed")
    assert turn.last_event == {"seq": events[-1].seq, "type": events[-1].type, "at": events[-1].at, "data": events[-1].data}


def test_from_any_seq_the_rest_comes_without_gap_or_repeat(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": WORDS, "model": "What is new?"})
    whole = played(on_loop, turn)

    async def rest(after: int) -> list[Event]:
        return await heard(turn, after=after)

    for place in range(len(whole)):
        assert on_loop(rest(whole[place - 1].seq if place else 0)) == whole[place:]


def test_a_reader_that_comes_and_goes_misses_nothing(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": WORDS, "model": "Tell me of everything that is new."})

    async def story() -> list[Event]:
        found: list[Event] = []
        async with turn_worker() as engine:
            engine.accept([turn.pk])
            while not found or found[-1].type != EventType.TURN_COMPLETED:
                async with aclosing(following.follow(turn.session_id, after=found[-1].seq if found else 0)) as events:
                    found.append(await anext(events))
        return found

    events = on_loop(story())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert text_of(events) == Turn.objects.get(pk=turn.pk).text


def test_a_word_that_is_said_twice_is_told_once(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    turn = asked({"says": WORDS, "pause": "echo"})

    async def story() -> list[Event]:
        found: list[Event] = []
        async with turn_worker() as engine, aclosing(following.follow_turn(turn.session_id, turn.pk, after=0)) as events:
            engine.accept([turn.pk])
            async for event in events:
                found.append(event)
                if event.type == EventType.DELTA and not GATES["echo"].is_set():
                    wiped.publish(streams.key(str(turn.session_id)), event.as_bytes())
                    GATES["echo"].set()
        return found

    events = on_loop(story())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert text_of(events) == "".join(WORDS)


def test_two_readers_hear_the_same(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": WORDS})

    async def story() -> list[list[Event]]:
        async with turn_worker() as engine:
            readers = [asyncio.create_task(heard(turn)) for _ in range(3)]
            engine.accept([turn.pk])
            return await asyncio.gather(*readers)

    first, second, third = on_loop(story())
    assert first == second == third


def test_a_reader_whose_log_was_wiped_in_the_middle_gets_the_stored_text_and_the_end(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    turn = asked({"says": WORDS, "pause": "wiping"})

    async def story() -> tuple[list[Event], list[Event]]:
        async with turn_worker() as engine:
            staying = asyncio.create_task(heard(turn))
            engine.accept([turn.pk])
            await until(lambda: wiped.xlen(streams.key(str(turn.session_id))) == 3)
            wiped.flushall()
            GATES["wiping"].set()
            stayed = await staying
            return stayed, await heard(turn)

    stayed, late = on_loop(story())
    stored = Turn.objects.get(pk=turn.pk).text
    assert stored == "".join(WORDS)
    assert text_of(stayed) == stored
    assert kinds(late)[-2:] == ["gap", "turn.completed"]
    assert late[-2].data == {"turn": str(turn.pk), "text": stored}
    assert late[-1] == stayed[-1]


def test_a_log_that_is_gone_after_the_end_leaves_the_stored_text_and_the_end(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    turn = asked({"says": WORDS})
    whole = played(on_loop, turn)
    wiped.flushall()

    found = on_loop(heard(turn, after=2))
    assert kinds(found) == ["gap", "turn.completed"]
    assert (found[0].seq, found[0].data["text"]) == (2, turn.text)
    assert found[1] == whole[-1]


def test_after_a_wipe_seq_goes_on_from_what_postgresql_knows(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    session = a_session()
    first = played(on_loop, asked({"says": ["one"]}, session=session))
    wiped.flushall()
    second = asked({"says": ["two"]}, session=session)

    async def story() -> list[Event]:
        async with turn_worker() as engine:
            engine.accept([second.pk])
            return await heard(second, after=first[-1].seq)

    events = on_loop(story())
    assert [event.seq for event in events] == list(range(first[-1].seq + 1, first[-1].seq + 1 + len(events)))
    assert "gap" not in kinds(events)


def test_what_was_retracted_is_not_told_again_after_a_wipe(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    turn = a_turn(TurnState.WORKING, now=datetime.now(UTC))
    event = {"seq": 9, "type": "turn.failed", "at": "", "data": {"turn": str(turn.pk)}}
    turns.finish(turn, Ending(move=TurnMove.FAIL, event=event, text="a secret", retracted=True, last_seq=9), None)

    found = on_loop(heard(turn, after=4))
    assert [(each.type, each.data.get("text")) for each in found] == [("gap", ""), ("turn.failed", None)]


def test_an_end_that_came_from_outside_keeps_what_a_reader_was_shown(on_loop: OnLoop[Any]) -> None:
    turn = a_turn(TurnState.WORKING, now=datetime.now(UTC))
    overdue.end_overdue_turns(now=turn.deadline + 2 * overdue.GRACE)

    assert kinds(on_loop(heard(turn))) == ["turn.failed"]


def test_silence_is_filled_with_heartbeats_that_carry_the_last_seq(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.2)
    turn = asked({"says": ["one", "two"], "pause": "silence"})

    async def story() -> list[Event]:
        found: list[Event] = []
        async with turn_worker() as engine, aclosing(following.follow(turn.session_id, after=0)) as events:
            engine.accept([turn.pk])
            async for event in events:
                found.append(event)
                if kinds(found).count("heartbeat") == 2:
                    GATES["silence"].set()
                if event.type == EventType.TURN_COMPLETED:
                    return found
        return found

    events = on_loop(story())
    beats = [place for place, event in enumerate(events) if event.type == EventType.HEARTBEAT]
    assert len(beats) >= 2
    assert all(events[place].seq == events[place - 1].seq for place in beats)
    assert [event.seq for event in events if event.type != EventType.HEARTBEAT] == list(range(1, len(events) - len(beats) + 1))
    assert text_of(events) == "onetwo"


def test_the_end_is_found_without_the_stream_store(on_loop: OnLoop[Any], settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.1)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    turn = a_turn(TurnState.WORKING, now=datetime.now(UTC))

    async def story() -> list[Event]:
        reading = asyncio.create_task(heard(turn))
        event = {"seq": 4, "type": "turn.completed", "at": "", "data": {"turn": str(turn.pk)}}
        await off_loop(turns.finish, turn, Ending(move=TurnMove.COMPLETE, event=event, text="all of it", last_seq=4), None)
        return await reading

    assert [(event.type, event.data.get("text")) for event in on_loop(story())] == [("gap", "all of it"), ("turn.completed", None)]


def test_a_turn_that_takes_too_long_ends_in_time_with_what_was_shown(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": ["one", "two"], "pause": "never"}, endpoint="trial-brief@1", latency_budget_ms=300)
    Turn.objects.filter(pk=turn.pk).update(deadline=datetime.now(UTC) + (turn.deadline - turn.received_at) / 20)
    events = played(on_loop, turn)

    assert (events[-1].type, events[-1].data["code"], events[-1].data["truncated"]) == ("turn.failed", "latency_budget_exceeded", True)
    assert (turn.state, turn.text, turn.truncated) == ("failed", "one", True)
    assert events[-1].data["escape"] == {"text": "Later, then.", "offer": None}


def test_a_turn_is_tried_once_more_before_its_first_delta(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": ["one"], "fails_once": "provider"})

    assert played(on_loop, turn)[-1].type == "turn.completed"
    assert DONE["runs"] == 2


@pytest.mark.parametrize(("given", "runs"), [({"fails": "provider"}, 2), ({"fails_late": "provider"}, 1), ({"fails": "decline"}, 1)])
def test_a_turn_is_never_tried_again_after_its_first_delta(on_loop: OnLoop[Any], given: dict[str, Any], runs: int) -> None:
    turn = asked(given)

    assert played(on_loop, turn)[-1].type == "turn.failed"
    assert DONE["runs"] == runs


def test_a_turn_that_a_person_stops_ends_with_what_was_shown(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": ["one", "two"], "pause": "never"})

    async def story() -> list[Event]:
        async with turn_worker() as engine, aclosing(following.follow_turn(turn.session_id, turn.pk, after=0)) as events:
            engine.accept([turn.pk])
            found = []
            async for event in events:
                found.append(event)
                if event.type == EventType.DELTA:
                    await off_loop(cancelling.stop_turn, turn.pk, now=datetime.now(UTC))
                    engine.stop([str(turn.pk)])
            return found

    events = on_loop(story())
    assert (events[-1].type, events[-1].data["code"], events[-1].data["truncated"]) == ("turn.failed", "cancelled", True)
    assert Turn.objects.get(pk=turn.pk).text == "one"


def test_no_second_voice_goes_on_with_an_answer_that_was_heard(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": ["one", "two"], "pause": "never"})

    async def story() -> tuple[UUID, list[Event]]:
        async with turn_worker() as dying, turn_worker() as second:
            reading = asyncio.create_task(heard(turn))
            dying.accept([turn.pk])
            session = str(turn.session_id)
            await until(lambda: _has_delta(session))
            await off_loop(turns.requeue_orphans, now=datetime.now(UTC))
            second.accept([turn.pk])
            events = await reading
            GATES["never"].set()
            await at_rest(dying)
            return turn.pk, events

    _, events = on_loop(story())
    stored = Turn.objects.get(pk=turn.pk)
    assert (events[-1].type, events[-1].data["code"]) == ("turn.failed", "worker_lost")
    assert (stored.text, stored.truncated, stored.attempt) == ("one", True, 2)
    assert text_of(events) == "one"


async def _has_delta(session: str) -> bool:
    async with streams.client() as store:
        return any(event.type == EventType.DELTA for event in await streams.read_after(store, session, 0))


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
