"""A session's stream over a real store: in order, once each, through reconnects, wipes and silence."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from invocation.domain.turns import EventType, TurnMove, TurnState
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event
from invocation.models import Turn
from invocation.services import following, overdue, turns
from invocation.services.turns import Ending
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.hearing import WORDS, asked, heard, kinds, played, shown, text_of
from tests.integration.invocation.rows import a_session, a_turn
from tests.integration.invocation.trial import GATES
from tests.integration.invocation.workers import turn_worker

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]


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
    assert shown(stayed) == stored
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
