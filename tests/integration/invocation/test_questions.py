"""Streams while PostgreSQL is away or slow, and what followers cost it: their questions go on beside them, together and in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from invocation.domain.turns import EventType, TurnMove, TurnState
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.streams import PAGE, Event
from invocation.gateways.writing import StreamWriter
from invocation.models import Session, Turn
from invocation.selectors.chat import STORED_PAGE, stored_of
from invocation.services import following, turns
from invocation.services.resuming import follow_to_rest
from invocation.services.turns import Ending
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.hearing import heard, kinds
from tests.integration.invocation.rows import a_session, a_turn
from tests.proxy import Proxy, proxied

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]
SOON_S = 4.0
"""Less than a connection to a frozen database is waited for, and many heartbeats."""
LONG = 2 * STORED_PAGE + 10


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The way to PostgreSQL, which a test may freeze."""
    _let_go()
    with proxied(int(connection.settings_dict["PORT"])) as proxy, monkeypatch.context() as elsewhere:
        elsewhere.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        elsewhere.setitem(connection.settings_dict, "PORT", str(proxy.port))
        yield proxy
        proxy.thaw()
        _let_go()


def _let_go() -> None:
    """Close this thread's connection and the pool of all: whoever connects next goes where the settings say by then."""
    ours: Any = connection
    ours.close()
    ours.close_pool()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.2)


def an_event(seq: int, kind: EventType, **data: Any) -> dict[str, Any]:
    return {"seq": seq, "type": str(kind), "at": "", "data": data}


async def say(session_id: UUID, *events: dict[str, Any]) -> None:
    writer = StreamWriter()
    for event in events:
        writer.write(str(session_id), event["seq"], Event(**event).as_bytes())
    await writer.drain()
    await writer.aclose()


def a_long_session() -> Session:
    """Make a session of more turns than are read at once, each of three events."""
    session = a_session(last_seq=3 * LONG, reserved_seq=3 * LONG)
    for number in range(1, LONG + 1):
        end = an_event(3 * number, EventType.TURN_COMPLETED, turn=str(number))
        turn = a_turn(TurnState.COMPLETED, session=session, text=f"answer {number}", text_seq=3 * number, last_event=end)
        end["data"]["turn"] = str(turn.pk)
        Turn.objects.filter(pk=turn.pk).update(last_event=end)
    return session


async def read_up_to(events: AsyncIterator[Event], wanted: int, kind: str) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(SOON_S):
        async for event in events:
            found.append(event)
            if kinds(found).count(kind) == wanted:
                return found
    raise AssertionError(kinds(found))


@pytest.mark.usefixtures("quick")
def test_while_the_database_hangs_heartbeats_and_deltas_come_and_then_the_end(on_loop: OnLoop[Any], way: Proxy) -> None:
    turn = a_turn(TurnState.WORKING, now=datetime.now(UTC))
    ids = {"turn": str(turn.pk)}

    async def story() -> tuple[list[Event], list[Event]]:
        async with aclosing(following.follow(turn.session_id, after=0)) as events:
            await say(turn.session_id, an_event(1, EventType.TURN_STARTED, **ids), an_event(2, EventType.DELTA, text="one"))
            before = await read_up_to(events, 1, "delta")
            way.freeze()
            before += await read_up_to(events, 3, "heartbeat")
            await say(turn.session_id, an_event(3, EventType.DELTA, text="two"))
            before += await read_up_to(events, 1, "delta")
            way.thaw()
            end = an_event(4, EventType.TURN_COMPLETED, **ids)
            await off_loop(turns.finish, turn, Ending(move=TurnMove.COMPLETE, event=end, text="onetwo", last_seq=4), None)
            return before, await read_up_to(events, 1, "turn.completed")

    before, after = on_loop(story())
    assert [event.seq for event in before if event.type != "heartbeat"] == [1, 2, 3]
    assert after[-1].seq == 4


@pytest.mark.usefixtures("quick")
def test_a_resumed_stream_goes_on_while_the_database_hangs_and_rests_when_it_is_back(on_loop: OnLoop[Any], way: Proxy) -> None:
    session = a_session()

    async def story() -> list[Event]:
        async with aclosing(follow_to_rest(session.pk, after=0)) as events:  # type: ignore[type-var]
            way.freeze()
            await read_up_to(events, 3, "heartbeat")
            way.thaw()
            return [event async for event in events]

    assert set(kinds(on_loop(story()))) <= {"heartbeat"}


@pytest.mark.usefixtures("quick")
def test_silent_streams_leave_the_database_threads_to_others(on_loop: OnLoop[Any], way: Proxy) -> None:
    sessions = [a_session() for _ in range(12)]

    async def beats(session: Session) -> None:
        async with aclosing(following.follow(session.pk, after=0)) as events:
            await read_up_to(events, 5, "heartbeat")
            assert await asyncio.wait_for(off_loop(str), SOON_S) == ""

    async def story() -> None:
        way.freeze()
        await asyncio.gather(*map(beats, sessions))

    on_loop(story())


def test_whoever_lost_text_waits_for_the_database_and_has_heartbeats_meanwhile(
    on_loop: OnLoop[Any], way: Proxy, quick: None, wiped: redis.Redis
) -> None:
    turn = a_turn(TurnState.WORKING, now=datetime.now(UTC))
    end = an_event(9, EventType.TURN_COMPLETED, turn=str(turn.pk))

    async def story() -> list[Event]:
        async with aclosing(following.follow(turn.session_id, after=0)) as events:
            await off_loop(turns.finish, turn, Ending(move=TurnMove.COMPLETE, event=end, text="all of it", last_seq=9), None)
            way.freeze()
            await say(turn.session_id, end)
            await read_up_to(events, 3, "heartbeat")
            way.thaw()
            return await read_up_to(events, 1, "turn.completed")

    told = [(event.type, event.data.get("text")) for event in on_loop(story()) if event.type != "heartbeat"]
    assert told == [("gap", "all of it"), ("turn.completed", None)]


def test_the_end_of_a_turn_that_was_erased_is_told_without_its_text(on_loop: OnLoop[Any]) -> None:
    session = a_session()
    turn = a_turn(TurnState.WORKING, session=session)
    Turn.objects.filter(pk=turn.pk).delete()

    async def story() -> list[Event]:
        await say(session.pk, an_event(9, EventType.TURN_COMPLETED, turn=str(turn.pk)))
        return await heard(turn)

    assert kinds(on_loop(story())) == ["turn.completed"]


def test_an_old_session_is_read_from_its_first_event_in_pieces(on_loop: OnLoop[Any]) -> None:
    session = a_long_session()
    [stored] = stored_of([(session.pk, 0)])
    assert len(stored.ended) == STORED_PAGE
    assert {"input", "output", "metadata"} <= stored.ended[0].get_deferred_fields()

    async def story() -> list[Event]:
        async with asyncio.timeout(20), aclosing(follow_to_rest(session.pk, after=0)) as events:  # type: ignore[type-var]
            return [event async for event in events]

    found = on_loop(story())
    assert kinds(found) == ["gap", "turn.completed"] * LONG
    assert [event.data["text"] for event in found[::2]] == [f"answer {number}" for number in range(1, LONG + 1)]


def test_an_answer_whose_beginning_was_trimmed_and_whose_rest_is_long_comes_as_its_text(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    turn = a_turn(TurnState.WORKING, now=datetime.now(UTC))
    last = PAGE + 100
    end = an_event(last, EventType.TURN_COMPLETED, turn=str(turn.pk))
    turns.finish(turn, Ending(move=TurnMove.COMPLETE, event=end, text="all of it", last_seq=last), None)

    async def story() -> list[Event]:
        await say(turn.session_id, *(an_event(seq, EventType.DELTA, text="x") for seq in range(2, last)), end)
        wiped.xtrim(streams.key(str(turn.session_id)), maxlen=PAGE + 50, approximate=False)
        return await heard(turn)

    found = on_loop(story())
    assert [(event.type, event.data.get("text")) for event in found] == [("gap", "all of it"), ("turn.completed", None)]


def test_sessions_of_which_nothing_new_is_stored_cost_one_query_together(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    turn = a_turn(TurnState.WORKING, now=datetime.now(UTC))
    asked = [(turn.session_id, 0), *((a_session(last_seq=4, reserved_seq=4).pk, 4) for _ in range(30))]
    with django_assert_num_queries(1):
        stored = stored_of(asked)

    assert (stored[0].open_turn, stored[0].is_at_rest) == (turn.pk, False)
    assert all(each.is_at_rest and not each.ended for each in stored[1:])
