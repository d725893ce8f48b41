"""What cannot be kept of one turn costs its neighbours nothing, and itself no end: all end at once, booked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis
from django.db import connection

from invocation.domain.jobs import BROKE
from invocation.domain.turns import TurnState
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event
from invocation.gateways.writing import StreamWriter
from invocation.models import RunRecord, Turn
from invocation.services import snapshots
from invocation.services.pens import Pen
from invocation.services.snapshots import Snapshots
from quota.models import LedgerEntry
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.hearing import asked, heard, text_of
from tests.integration.invocation.rows import a_session, a_turn
from tests.integration.invocation.trial import FACTS
from tests.integration.invocation.workers import turn_worker

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]
QUESTION = "A sports series?"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets turns that ask for `facts` say what no JSON of an input can hold."""

    def say(*pieces: str) -> None:
        monkeypatch.setitem(FACTS, "given", {"says": [*pieces], "model": QUESTION, "adds": {"text": "fine"}})

    return say


def played_together(on_loop: OnLoop[Any], *turns: Turn) -> list[list[Event]]:
    async def story() -> list[list[Event]]:
        async with turn_worker() as engine:
            reading = [asyncio.create_task(heard(turn)) for turn in turns]
            engine.accept([turn.pk for turn in turns])
            return await asyncio.gather(*reading)

    found: list[list[Event]] = on_loop(story())
    for turn in turns:
        turn.refresh_from_db()
    return found


@contextmanager
def refused_to_be(state: TurnState, turn_id: UUID) -> Iterator[None]:
    """Let a rule of the database refuse this end of this turn."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE FUNCTION no_such_end() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NEW.id = '{turn_id}' AND NEW.state = '{state}' THEN RAISE 'no such end'; END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER no_such_end BEFORE UPDATE ON invocation_turn FOR EACH ROW EXECUTE FUNCTION no_such_end();
            """
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER no_such_end ON invocation_turn; DROP FUNCTION no_such_end()")


@pytest.mark.parametrize(
    ("pieces", "shown"), [(["a\0b. "], "a\ufffdb. "), (["one ", "\ud83d"], "one "), (["one \ud83d", "\ude00. "], "one \U0001f600. ")]
)
def test_a_turn_that_says_what_is_no_text_ends_like_its_neighbour(on_loop: OnLoop[Any], said: Any, pieces: list[str], shown: str) -> None:
    said(*pieces)
    odd, good = asked({"facts": True}), asked({"says": ["good "], "model": QUESTION})
    events, _ = played_together(on_loop, odd, good)

    assert (odd.state, good.state) == ("completed", "completed")
    assert odd.text == text_of(events) == (odd.last_event or {})["data"]["text"]
    assert odd.text.startswith(shown.rstrip())
    assert LedgerEntry.objects.filter(run_id__in=[odd.pk, good.pk]).count() == 2
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_an_end_that_cannot_be_stored_is_a_failure_that_is_booked_and_costs_its_neighbour_nothing(on_loop: OnLoop[Any]) -> None:
    odd, good = [asked({"says": ["good "], "model": QUESTION}) for _ in range(2)]
    with refused_to_be(TurnState.COMPLETED, odd.pk):
        events, _ = played_together(on_loop, odd, good)

    assert (odd.state, good.state) == ("failed", "completed")
    assert (events[-1].type, events[-1].data["code"], events[-1].data["sentence"]) == ("turn.failed", "outcome_not_kept", BROKE)
    assert (odd.text, odd.truncated, (odd.error or {})["code"]) == (text_of(events), True, "outcome_not_kept")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert LedgerEntry.objects.filter(run_id__in=[odd.pk, good.pk]).count() == 2
    assert RunRecord.objects.get(source_id=odd.pk).error_code == "outcome_not_kept"


def test_what_an_older_release_has_shown_ends_its_turn_though_it_is_no_text(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    turn = asked({"says": ["again"]}, session=a_session(reserved_seq=4_096), attempt=1)
    told = [("turn.started", {"turn": str(turn.pk)}), ("delta", {"text": "a\0b"})]
    for seq, (kind, data) in enumerate(told, start=1):
        wiped.xadd(streams.key(str(turn.session_id)), {"e": Event(seq, kind, "", data).as_bytes()}, id=f"{seq}-0")
    played_together(on_loop, turn)

    assert (turn.state, turn.text, turn.truncated) == ("failed", "a\ufffdb", True)


def test_a_defect_does_not_end_the_task_that_takes_snapshots(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY_S", 0.01)
    turn = a_turn(TurnState.WORKING, attempt=1, now=datetime.now(UTC))
    assert turn.owner is not None
    owner = turn.owner

    class Broken(Pen):
        times = 0

        @property
        def shown(self) -> str:
            self.times += 1
            if self.times == 1:
                raise RuntimeError("a defect")
            return super().shown

    async def story() -> None:
        writer, keeping = StreamWriter(), Snapshots(owner)
        pen = Broken(writer, str(turn.session_id), 0)
        with keeping.of(turn, pen):
            pen.delta("so far")
            await until(lambda: off_loop(lambda: Turn.objects.get(pk=turn.pk).text == "so far"))
        await keeping.aclose()
        await writer.aclose()

    on_loop(story())
