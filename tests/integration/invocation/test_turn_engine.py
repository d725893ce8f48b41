"""Turns on a worker's loop: in time, retried in silence only, stopped, and never spoken by two voices."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from invocation.domain.jobs import ASK_AGAIN, BROKE
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


def speaking_by(ms: int, given: dict[str, Any], *, ago: int = 0, **columns: Any) -> Turn:
    """A turn that was received `ago` ms before and has to speak `ms` after."""
    received_at = datetime.now(UTC) - timedelta(milliseconds=ago)
    by = received_at + timedelta(milliseconds=ms)
    return asked(given, received_at=received_at, first_delta_deadline=by, **columns)


def test_a_turn_without_a_first_word_in_time_ends_with_its_budget_and_its_escape_hatch(on_loop: OnLoop[Any]) -> None:
    turn = speaking_by(250, {"wait": "never"})
    last = played(on_loop, turn)[-1]

    assert (last.type, last.data["code"], last.data["truncated"]) == ("turn.failed", "latency_budget_exceeded", False)
    assert (last.data["budget"], last.data["limit_ms"]) == ("first_delta", 250)
    assert last.data["escape"] == {"text": "Later, then.", "offer": "trial-job@1"}
    assert (turn.state, turn.text, turn.deadline > datetime.now(UTC)) == ("failed", "", True)


def test_the_time_in_the_queue_counts(on_loop: OnLoop[Any]) -> None:
    turn = speaking_by(1_400, {"says": ["one"]}, ago=2_000)

    assert played(on_loop, turn)[-1].data["budget"] == "first_delta"
    assert turn.text == ""


def test_after_the_first_word_the_whole_turns_deadline_counts(on_loop: OnLoop[Any]) -> None:
    turn = speaking_by(1_500, {"says": ["one", "two"], "pause": "soon"})

    async def story() -> list[Event]:
        async with turn_worker() as engine:
            reading = asyncio.create_task(heard(turn))
            engine.accept([turn.pk])
            await until(lambda: is_past(turn.first_delta_deadline))
            GATES["soon"].set()
            return await reading

    assert on_loop(story())[-1].type == "turn.completed"


@pytest.mark.parametrize(("given", "endpoint"), [({"verification": "buffer"}, "trial-chat@1"), ({}, "trial-sure@1")])
def test_an_answer_that_is_verified_first_may_speak_late(on_loop: OnLoop[Any], given: dict[str, Any], endpoint: str) -> None:
    by = {} if endpoint == "trial-sure@1" else {"first_delta_deadline": datetime.now(UTC) + timedelta(milliseconds=1_500)}
    turn = asked({"says": ["one", "two"], "pause": "soon", **given}, endpoint=endpoint, **by)
    late = datetime.now(UTC) + timedelta(milliseconds=1_600)

    async def story() -> list[Event]:
        async with turn_worker() as engine:
            reading = asyncio.create_task(heard(turn))
            engine.accept([turn.pk])
            await until(lambda: is_past(late))
            GATES["soon"].set()
            return await reading

    events = on_loop(story())
    assert (events[1].data["verification"], events[-1].type, text_of(events)) == ("buffer", "turn.completed", "onetwo")


async def is_past(moment: datetime | None) -> bool:
    return moment is not None and datetime.now(UTC) > moment


def test_no_retry_is_begun_that_the_budget_leaves_no_time_for(on_loop: OnLoop[Any]) -> None:
    turn = speaking_by(1_400, {"says": ["one"], "fails": "provider"}, ago=1_250)
    last = played(on_loop, turn)[-1]

    assert last.type == "turn.failed"
    assert DONE["runs"] <= 1


def test_a_retracted_answer_is_kept_marked_and_followed_by_other_words(on_loop: OnLoop[Any]) -> None:
    turn = asked({"says": ["All is well. ", "A curse ", "follows. ", "And on. ", "And on."]})
    events = played(on_loop, turn)
    last = events[-1]

    assert [event.type for event in events if event.type != "delta"] == ["turn.started", "plan.ready", "retracted", "turn.failed"]
    assert events[-2].data == {"reason": "The answer holds a curse.", "verifier": "no_curses"}
    assert (last.data["code"], last.data["truncated"]) == ("verification_failed", False)
    assert last.data["escape"]["offer"] is None
    assert last.data["escape"]["text"].startswith("I had to take this answer back.")
    assert (turn.state, turn.retracted, turn.text) == ("failed", True, "All is well. A curse ")


@pytest.mark.parametrize("verification", ["draft", "buffer"])
def test_a_verifier_that_raises_leaves_nothing_standing(on_loop: OnLoop[Any], verification: str) -> None:
    turn = asked({"says": ["One ", "and two. "], "verifier": "crash", "verification": verification})
    events = played(on_loop, turn)

    assert (events[-1].data["code"], events[-1].data["escape"]["offer"]) == ("verifier_failed", None)
    assert [event.data["reason"] for event in events if event.type == "retracted"] == (
        ["The answer could not be verified."] if verification == "draft" else []
    )
    assert text_of(events) == ("One " if verification == "draft" else "")
    assert DONE["runs"] == 1


def test_a_crash_that_speaks_of_u0000_still_ends_its_turn(on_loop: OnLoop[Any]) -> None:
    turn = asked({"fails": "nul"})

    assert played(on_loop, turn)[-1].data["code"] == "agent_crashed"
    assert turn.state == "failed"


def test_what_a_crash_says_is_for_operators_and_no_readers(on_loop: OnLoop[Any]) -> None:
    turn = asked({"fails": "crash"})
    last = played(on_loop, turn)[-1].data

    assert (last["code"], last["sentence"], last["remedy"]) == ("agent_crashed", BROKE, ASK_AGAIN)
    assert "the trial crashed" not in str(turn.last_event)
    assert (turn.error or {})["broke"].startswith("RuntimeError: the trial crashed")


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
