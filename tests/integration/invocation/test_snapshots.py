"""What running turns have shown is stored as they go: fenced, without what was retracted, and told where the log was lost."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import redis

from invocation.domain.turns import SEQS_OF_A_CLAIM, EventType, TurnState
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event
from invocation.gateways.writing import StreamWriter
from invocation.models import Turn
from invocation.services import following, overdue, snapshots, turn_rows
from invocation.services.pens import Pen
from invocation.services.snapshots import Snapshots
from invocation.services.turn_rows import Shown
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.hearing import WORDS, asked, heard, kinds
from tests.integration.invocation.rows import a_session, a_turn
from tests.integration.invocation.trial import GATES
from tests.integration.invocation.workers import turn_worker

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY_S", 0.05)


def held(**columns: Any) -> Turn:
    return a_turn(TurnState.WORKING, now=datetime.now(UTC), attempt=1, **columns)


def shown(turn: Turn) -> tuple[str, int]:
    return Turn.objects.values_list("text", "text_seq").get(pk=turn.pk)


@pytest.mark.parametrize("wrong", ["attempt", "owner", "state", ""])
def test_only_the_attempt_that_holds_a_turn_stores_its_text(wrong: str) -> None:
    turn = held()
    attempt, owner = turn.attempt + (wrong == "attempt"), uuid4() if wrong == "owner" else turn.owner
    assert owner is not None
    if wrong == "state":
        Turn.objects.filter(pk=turn.pk).update(state=TurnState.QUEUED)
    turn_rows.store([Shown(turn.pk, attempt, "so far", 7)], owner=owner)

    assert shown(turn) == (("", 0) if wrong else ("so far", 7))


def test_a_running_turns_text_is_stored_with_its_seq_and_without_what_was_retracted(on_loop: OnLoop[Any]) -> None:
    turn = held()
    assert turn.owner is not None
    owner = turn.owner

    async def story() -> None:
        writer, keeping = StreamWriter(), Snapshots(owner)
        pen = Pen(writer, str(turn.session_id), 10)
        with keeping.of(turn, pen):
            pen.delta("one ")
            await until(lambda: off_loop(_is, ("one ", 11)))
            pen.write(EventType.RETRACTED, {"reason": "a secret", "verifier": "v"})
            await until(lambda: off_loop(_is, ("", 12)))
        await keeping.aclose()
        await writer.aclose()

    def _is(wanted: tuple[str, int]) -> bool:
        return shown(turn) == wanted

    on_loop(story())


@pytest.mark.parametrize("odd", ["a\0b", "one \ud83d"])
def test_a_text_that_cannot_be_stored_keeps_no_other_from_it(on_loop: OnLoop[Any], odd: str) -> None:
    owner = uuid4()
    turns = [held(owner=owner) for _ in range(5)]

    async def story() -> None:
        writer, keeping = StreamWriter(), Snapshots(owner)
        pens = [Pen(writer, str(turn.session_id), 0) for turn in turns]
        with ExitStack() as kept:
            for turn, pen in zip(turns, pens, strict=True):
                kept.enter_context(keeping.of(turn, pen))
                pen.delta(odd if turn is turns[1] else "good")
            await until(lambda: off_loop(_are, ["good", "", "good", "good", "good"]))
            pens[0].write(EventType.DELTA, {"text": " day"})
            await until(lambda: off_loop(_are, ["good day", "", "good", "good", "good"]))
        await keeping.aclose()
        await writer.aclose()

    def _are(wanted: list[str]) -> bool:
        return [shown(turn)[0] for turn in turns] == wanted

    on_loop(story())


def test_a_reader_that_comes_after_a_wipe_gets_the_stored_text_at_once_and_then_the_rest(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    turn = asked({"says": WORDS, "pause": "wiping"})

    async def story() -> list[Event]:
        found: list[Event] = []
        async with turn_worker() as engine:
            engine.accept([turn.pk])
            await until(lambda: off_loop(lambda: shown(turn)[0] == WORDS[0]))
            wiped.flushdb()
            async with aclosing(following.follow_turn(turn.session_id, turn.pk, after=1)) as events:
                async for event in events:
                    found.append(event)
                    GATES["wiping"].set()
        return [event for event in found if event.type != EventType.HEARTBEAT]

    events = on_loop(story())
    assert kinds(events)[0] == "gap"
    assert (events[0].data, events[0].seq) == ({"turn": str(turn.pk), "text": WORDS[0]}, 3)
    assert kinds(events).count("gap") == 1
    assert WORDS[0] + "".join(event.data["text"] for event in events if event.type == "delta") == "".join(WORDS)
    assert [event.seq for event in events] == list(range(3, 3 + len(events)))


def test_no_word_is_told_out_of_its_place_while_lost_text_is_not_stored_yet(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    owner = uuid4()
    turn = held(owner=owner)
    late = Event(9, "delta", "", {"text": "late"})
    wiped.xadd(streams.key(str(turn.session_id)), {"e": late.as_bytes()}, id="9-0")

    async def story() -> list[Event]:
        async with aclosing(following.follow(turn.session_id, after=3)) as events:
            first = asyncio.create_task(anext(events))
            await asyncio.sleep(0.6)
            assert not first.done()
            await off_loop(turn_rows.store, [Shown(turn.pk, 1, "all before ", 8)], owner=owner)
            return [await first, await anext(events)]

    assert [(event.type, event.seq, event.data["text"]) for event in on_loop(story())] == [("gap", 8, "all before "), ("delta", 9, "late")]


def test_without_the_store_the_text_comes_from_postgresql_as_it_grows(
    on_loop: OnLoop[Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.1)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    owner = uuid4()
    turn = held(owner=owner)

    async def story() -> list[Event]:
        found: list[Event] = []
        async with aclosing(following.follow(turn.session_id, after=0)) as events:
            for text, seq in (("one", 3), ("one two", 5)):
                await off_loop(turn_rows.store, [Shown(turn.pk, 1, text, seq)], owner=owner)
                found.append(await anext(event async for event in events if event.type == "gap"))
        return found

    assert [(event.seq, event.data["text"]) for event in on_loop(story())] == [(3, "one"), (5, "one two")]


def test_a_turn_that_is_ended_for_its_worker_keeps_its_stored_text_though_the_log_is_gone(on_loop: OnLoop[Any]) -> None:
    turn = held(session=a_session(reserved_seq=SEQS_OF_A_CLAIM), text="so far", text_seq=4)
    overdue.end_overdue_turns(now=turn.deadline + 2 * overdue.GRACE)
    turn.refresh_from_db()

    assert (turn.text, turn.truncated) == ("so far", True)
    assert kinds(on_loop(heard(turn))) == ["gap", "turn.failed"]


def test_no_second_voice_goes_on_with_an_answer_that_was_stored_as_heard(on_loop: OnLoop[Any]) -> None:
    session = a_session(reserved_seq=SEQS_OF_A_CLAIM)
    turn = asked({"says": ["again"]}, session=session, attempt=1, text="so far", text_seq=4)

    async def story() -> list[Event]:
        async with turn_worker() as engine:
            engine.accept([turn.pk])
            return await heard(turn)

    last = on_loop(story())[-1]
    turn.refresh_from_db()
    assert (last.type, last.data["code"], turn.text) == ("turn.failed", "worker_lost", "so far")
