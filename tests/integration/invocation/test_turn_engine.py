"""Turns on a worker's loop: in time, retried in silence only, stopped, and never spoken by two voices."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from invocation.domain.turns import EventType
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event
from invocation.models import Turn
from invocation.services import cancelling, following, turns
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.hearing import asked, heard, played, text_of
from tests.integration.invocation.trial import DONE, GATES
from tests.integration.invocation.workers import at_rest, turn_worker

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]


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
