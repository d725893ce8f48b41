"""Chat turns in the database: opened at once or refused at once, claimed once, ended once, always with a last event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DataError, IntegrityError, transaction
from orjson import JSONEncodeError
from pytest_django import Settings

from invocation.domain.errors import AdmissionHeld, InputInvalid, NotFound, Saturated, SessionBusy, StaleMove, TooLongForSync
from invocation.domain.turns import ENDED, OPEN, SEQS_OF_A_CLAIM, TURN_EDGES, TurnMove, TurnState
from invocation.gateways import declared
from invocation.models import Session, Turn
from invocation.models.admission import HoldScope
from invocation.services import cancelling, holds, overdue, turn_openings, turns
from invocation.services.turn_openings import Opened, Opening
from invocation.services.turns import Ending, Finish
from tests.integration.invocation.rows import NOW, a_process, a_session, a_turn

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db]


def opened(tenant_id: UUID | None = None, *, session_id: UUID | None = None, endpoint: str = "chat@1", **given: Any) -> Opened:
    found = declared.book().find(endpoint)
    opening = Opening(tenant_id=tenant_id or uuid4(), endpoint=found, input={"text": "hello", **given}, session_id=session_id)
    return turn_openings.open_turn(opening, now=NOW)


def ended(turn: Turn, *, move: TurnMove = TurnMove.COMPLETE, seq: int = 5) -> Ending:
    event = {"seq": seq, "type": "turn.completed", "at": NOW.isoformat(), "data": {"turn": str(turn.pk)}}
    return Ending(move=move, event=event, text="said", output={"text": "said"}, last_seq=seq)


def working(**columns: Any) -> Turn:
    turn = a_turn(now=datetime.now(UTC), **columns)
    [claimed] = turns.claim([turn.pk], owner=uuid4())
    assert claimed is not None
    return claimed.turn


def last(turn: Turn) -> dict[str, Any]:
    assert turn.last_event is not None
    return dict(turn.last_event)


@pytest.fixture
def slots() -> None:
    a_process("p0", slots=2)


@pytest.mark.usefixtures("slots")
def test_a_turn_is_opened_with_the_budgets_that_bind_it() -> None:
    found = opened()
    turn = Turn.objects.get(pk=found.turn_id)

    assert (turn.state, turn.number, turn.latency_budget_ms, turn.deadline) == ("queued", 1, 6_000, NOW + timedelta(seconds=6))
    assert turn.first_delta_deadline == NOW + timedelta(milliseconds=1_400)
    assert (found.session_id, found.after, found.deadline) == (turn.session_id, 0, turn.deadline)


@pytest.mark.usefixtures("slots")
@pytest.mark.parametrize(
    ("endpoint", "grace", "by"), [("trial-voice@1", 0, 700), ("trial-voice@1", 9_000, 5_000), ("trial-sure@1", 0, None)]
)
def test_the_first_word_is_due_by_its_endpoints_own_budget(settings: Settings, endpoint: str, grace: int, by: int | None) -> None:
    settings.FIRST_DELTA_GRACE = timedelta(milliseconds=grace)
    turn = Turn.objects.get(pk=opened(endpoint=endpoint).turn_id)

    assert turn.first_delta_deadline == (by and NOW + timedelta(milliseconds=by))


def test_without_a_live_slot_a_chat_is_refused_at_once() -> None:
    with pytest.raises(Saturated) as refused:
        opened()

    assert refused.value.retry_after
    assert not Session.objects.exists()


@pytest.mark.usefixtures("slots")
def test_when_every_slot_is_taken_a_chat_is_refused_at_once() -> None:
    opened()
    opened()
    with pytest.raises(Saturated):
        opened()

    assert Turn.objects.count() == 2


@pytest.mark.usefixtures("slots")
@pytest.mark.parametrize(("scope", "value"), [("endpoint", "chat@1"), ("agent", "mangaassist@1"), ("class", "p0"), ("tenant", None)])
def test_a_held_chat_is_refused_and_told_when_to_come_back(scope: str, value: str | None) -> None:
    tenant_id = uuid4()
    holds.hold(HoldScope(scope), value or str(tenant_id), reason="a repair", by=None, now=NOW)
    with pytest.raises(AdmissionHeld, match="a repair") as refused:
        opened(tenant_id)

    assert refused.value.retry_after
    assert not Turn.objects.exists()


@pytest.mark.usefixtures("slots")
@pytest.mark.parametrize("whose", ["another tenant's", "nobody's"])
def test_a_session_that_is_not_yours_is_not_there(whose: str) -> None:
    session_id = a_session().pk if whose == "another tenant's" else uuid4()
    with pytest.raises(NotFound):
        opened(session_id=session_id)

    assert not Turn.objects.exists()


@pytest.mark.usefixtures("slots")
def test_a_session_answers_one_turn_at_a_time() -> None:
    session = a_session()
    opened(session.tenant_id, session_id=session.pk)
    with pytest.raises(SessionBusy):
        opened(session.tenant_id, session_id=session.pk)

    assert Turn.objects.count() == 1


@pytest.mark.usefixtures("slots")
def test_what_a_chat_cannot_answer_in_time_is_refused_before_any_work() -> None:
    with pytest.raises(TooLongForSync) as refused:
        opened(endpoint="trial-chat@1", seconds=30)
    with pytest.raises(InputInvalid):
        opened(text=7)

    assert refused.value.facts["sibling"] == "trial-job@1"
    assert not Session.objects.exists()


def test_a_turn_is_claimed_once_by_however_many_messages() -> None:
    turn = a_turn(now=datetime.now(UTC))
    taken = turns.claim([turn.pk, turn.pk], owner=uuid4())

    assert [each is not None for each in taken] == [True, False]
    assert turns.claim([turn.pk], owner=uuid4()) == [None]
    turn.refresh_from_db()
    assert (turn.state, turn.attempt) == ("working", 1)


@pytest.mark.parametrize("why", ["too late", "cancelled"])
def test_nobody_starts_a_turn_that_nobody_waits_for(why: str) -> None:
    turn = a_turn(now=datetime.now(UTC) - timedelta(minutes=1)) if why == "too late" else a_turn(TurnState.CANCELLED)

    assert turns.claim([turn.pk], owner=uuid4()) == [None]


def test_seq_never_goes_back_over_attempts_and_turns() -> None:
    session, last, lost = a_session(), 0, 3
    for said in (5, 4_000, SEQS_OF_A_CLAIM):
        turn = a_turn(session=session, now=datetime.now(UTC))
        for _ in range(lost + 1):
            turns.requeue_orphans(now=datetime.now(UTC))
            [claimed] = turns.claim([turn.pk], owner=uuid4())
        assert claimed is not None
        assert claimed.base == last + lost * SEQS_OF_A_CLAIM
        last = claimed.base + said
        turns.finish(claimed.turn, ended(claimed.turn, seq=last), None)
        session.refresh_from_db()
        assert session.last_seq == session.reserved_seq == last


@pytest.mark.parametrize("wrong", ["attempt", "owner", "state"])
def test_an_attempt_that_lost_the_turn_ends_nothing(wrong: str) -> None:
    turn = working()
    stale = Turn.objects.get(pk=turn.pk)
    if wrong == "attempt":
        stale.attempt += 1
    elif wrong == "owner":
        stale.owner = uuid4()
    else:
        turns.finish(turn, ended(turn), None)
    before = Turn.objects.values().get(pk=turn.pk), Session.objects.values().get(pk=turn.session_id)
    with pytest.raises(StaleMove):
        turns.finish(stale, ended(turn, seq=9), None)

    assert (Turn.objects.values().get(pk=turn.pk), Session.objects.values().get(pk=turn.session_id)) == before


def test_what_cannot_be_ended_of_a_group_costs_the_others_nothing() -> None:
    stale, unfit, half, good = working(), working(), working(), working()
    stale.attempt += 1
    answers = turns.finish_all(
        [
            Finish(stale, ended(stale), None),
            Finish(unfit, replace(ended(unfit), text="a\0b"), None),
            Finish(half, replace(ended(half), text="one \ud83d"), None),
            Finish(good, ended(good), None),
        ]
    )

    assert [type(answer) for answer in answers] == [StaleMove, DataError, JSONEncodeError, type(None)]
    assert [Turn.objects.get(pk=turn.pk).state for turn in (stale, unfit, half, good)] == ["working", "working", "working", "completed"]


@pytest.mark.parametrize("state", TurnState)
@pytest.mark.parametrize("move", [TurnMove.COMPLETE, TurnMove.FAIL, TurnMove.CANCEL, TurnMove.OVERDUE])
def test_a_turn_ends_from_the_states_of_its_table_only(state: TurnState, move: TurnMove) -> None:
    turn = a_turn(state)
    moved = turns.end_from_outside(turn, ended(turn, move=move), now=NOW)
    turn.refresh_from_db()

    assert moved is (state in TURN_EDGES[move].sources)
    assert turn.state == (TURN_EDGES[move].target if moved else state)


def test_turns_of_dead_workers_are_queued_again_while_there_is_time() -> None:
    alive = a_process("p0")
    orphan, held, late = a_turn(TurnState.WORKING), a_turn(TurnState.WORKING, owner=alive.pk), a_turn(TurnState.WORKING, deadline=NOW)

    assert turns.requeue_orphans(now=NOW) == [orphan.pk]
    assert [Turn.objects.get(pk=turn.pk).state for turn in (orphan, held, late)] == ["queued", "working", "working"]
    assert turns.requeue_orphans(now=NOW) == []


@pytest.mark.parametrize("state", sorted(OPEN))
def test_past_its_deadline_every_turn_gets_its_last_event(state: TurnState) -> None:
    session = a_session(last_seq=3, reserved_seq=4_099)
    turn = a_turn(state, session=session, endpoint="chat@1")

    assert overdue.end_overdue_turns(now=turn.deadline + overdue.GRACE) == 0
    assert overdue.end_overdue_turns(now=turn.deadline + overdue.GRACE + timedelta(seconds=1)) == 1
    turn.refresh_from_db()
    session.refresh_from_db()
    assert (turn.state, turn.owner, session.last_seq) == ("failed", None, 4_100)
    assert (last(turn)["seq"], last(turn)["type"]) == (4_100, "turn.failed")
    told = last(turn)["data"]
    assert (told["turn"], told["code"], told["escape"]["offer"]) == (str(turn.pk), "latency_budget_exceeded", "personalize@1")


@pytest.mark.parametrize("state", sorted(ENDED))
def test_what_has_ended_is_not_overdue(state: TurnState) -> None:
    a_turn(state)

    assert overdue.end_overdue_turns(now=NOW + timedelta(hours=1)) == 0


def test_a_turn_that_waits_for_a_worker_past_its_first_word_ends_with_the_escape_hatch() -> None:
    soon = NOW + timedelta(milliseconds=1_400)
    waiting, speaking = a_turn(first_delta_deadline=soon), a_turn(TurnState.WORKING, first_delta_deadline=soon)

    assert overdue.end_overdue_turns(now=soon + overdue.GRACE) == 0
    assert overdue.end_overdue_turns(now=soon + overdue.GRACE + timedelta(milliseconds=1)) == 1
    for turn in (waiting, speaking):
        turn.refresh_from_db()
    assert (waiting.state, speaking.state) == ("failed", "working")
    told = last(waiting)["data"]
    assert (told["budget"], told["limit_ms"], told["escape"]["offer"]) == ("first_delta", 1_400, "personalize@1")


def test_a_turn_that_is_stopped_before_it_began_ends_at_once() -> None:
    turn = a_turn()
    cancelling.stop_turn(turn.pk, now=NOW)
    cancelling.stop_turn(turn.pk, now=NOW)
    turn.refresh_from_db()

    assert (turn.state, last(turn)["data"]["code"]) == ("cancelled", "cancelled")


def test_a_turn_that_runs_is_marked_and_its_worker_finds_the_mark() -> None:
    turn = working()
    cancelling.stop_turn(turn.pk, now=NOW)

    assert turn.owner is not None
    assert cancelling.stopping_turns(turn.owner) == [str(turn.pk)]
    assert Turn.objects.get(pk=turn.pk).state == "working"


def test_a_turn_that_could_not_be_sent_does_not_stay_open() -> None:
    turn = a_turn()
    cancelling.withdraw(turn.pk, code="stream_unavailable", sentence="The broker cannot be reached.")
    with pytest.raises(StaleMove):
        cancelling.withdraw(turn.pk, code="stream_unavailable", sentence="The broker cannot be reached.")
    turn.refresh_from_db()

    assert (turn.state, last(turn)["data"]["code"]) == ("failed", "stream_unavailable")


def test_a_turn_that_a_worker_has_is_not_withdrawn() -> None:
    turn = working()
    with pytest.raises(StaleMove):
        cancelling.withdraw(turn.pk, code="stream_unavailable", sentence="The broker cannot be reached.")

    assert Turn.objects.get(pk=turn.pk).state == "working"


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"state": "asleep"}, "turn_state_is_known"),
        ({"state": "completed", "finished_at": NOW}, "turn_keeps_its_last_event"),
        ({"finished_at": NOW}, "turn_keeps_its_last_event"),
        ({"first_delta_deadline": NOW + timedelta(hours=1)}, "turn_speaks_before_its_deadline"),
    ],
)
def test_the_database_keeps_the_law_of_turns(columns: dict[str, Any], rule: str) -> None:
    turn = a_turn()
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        Turn.objects.filter(pk=turn.pk).update(**columns)


def test_the_database_keeps_a_session_to_one_open_turn_and_its_seqs_in_their_reserve() -> None:
    session = a_session()
    a_turn(session=session)
    with pytest.raises(IntegrityError, match="session_has_one_open_turn"), transaction.atomic():
        a_turn(session=session)
    with pytest.raises(IntegrityError, match="session_seq_never_outruns_its_reserve"), transaction.atomic():
        Session.objects.filter(pk=session.pk).update(last_seq=1)


def test_a_turn_is_told_the_earlier_answers_of_its_session() -> None:
    session = a_session()
    for text in ("first", "second"):
        a_turn(TurnState.COMPLETED, session=session, text=text)
    a_turn(TurnState.FAILED, session=session, text="half")
    [claimed] = turns.claim([a_turn(session=session, now=datetime.now(UTC)).pk], owner=uuid4())

    assert claimed is not None
    assert [exchange.answered for exchange in claimed.history] == ["first", "second"]
