"""Which turns may begin: each refused by its own rule, all counted by one count."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from invocation.domain.errors import AdmissionHeld, InvocationError, NotFound, Saturated, SessionBusy, TooManyTurns
from invocation.domain.openings import Room, Seat, Standing, Wanted, seat

TENANT, SESSION = uuid4(), uuid4()
WANTED = Wanted(tenant_id=TENANT, endpoint="chat@1", agent="mangaassist@1", priority_class="p0", session_id=None, at_once=None)
ROOM = Room(slots={"p0": 10}, open_turns=0, open_of={}, holds=(), sessions={SESSION: Standing(TENANT, 40, 3, is_busy=False)})


def kinds(answers: list[Seat | InvocationError]) -> list[str]:
    return [type(answer).__name__ for answer in answers]


def test_a_session_goes_on_with_its_number_and_its_seq() -> None:
    assert seat([WANTED, replace(WANTED, session_id=SESSION)], ROOM) == [Seat(1, 0), Seat(4, 40)]


def test_no_more_are_let_in_than_there_are_slots_and_what_is_refused_takes_none() -> None:
    room = replace(ROOM, open_turns=8)
    unknown = replace(WANTED, session_id=uuid4())

    assert kinds(seat([WANTED, unknown, WANTED, WANTED], room)) == ["Seat", "NotFound", "Seat", "Saturated"]


def test_a_tenants_turns_are_counted_with_those_let_in_before() -> None:
    mine, others = replace(WANTED, at_once=2), replace(WANTED, tenant_id=uuid4(), at_once=2)
    answers = seat([mine, mine, others, mine], replace(ROOM, open_of={TENANT: 1}))

    assert kinds(answers) == ["Seat", "TooManyTurns", "Seat", "TooManyTurns"]
    assert isinstance(answers[1], TooManyTurns)
    assert answers[1].facts == {"limit": 2, "used": 2}


def test_a_session_is_asked_once_at_a_time_also_within_one_moment() -> None:
    asked = replace(WANTED, session_id=SESSION)
    busy = replace(ROOM, sessions={SESSION: Standing(TENANT, 40, 3, is_busy=True)})

    assert kinds(seat([asked, asked], ROOM)) == ["Seat", "SessionBusy"]
    assert kinds(seat([asked], busy)) == ["SessionBusy"]


@pytest.mark.parametrize("whose", [uuid4(), None])
def test_a_session_that_is_not_yours_is_not_there(whose: UUID | None) -> None:
    sessions = {SESSION: Standing(whose, 0, 0, is_busy=True)} if whose else {}

    assert kinds(seat([replace(WANTED, session_id=SESSION)], replace(ROOM, sessions=sessions))) == [NotFound.__name__]


@pytest.mark.parametrize("hold", [("endpoint", "chat@1"), ("agent", "mangaassist@1"), ("class", "p0"), ("tenant", str(TENANT))])
def test_what_is_held_is_refused_with_the_reason_before_anything_else(hold: tuple[str, str]) -> None:
    room = replace(ROOM, slots={}, holds=[("endpoint", "voice@1", "another"), (*hold, "a repair")])
    [refusal] = seat([WANTED], room)

    assert isinstance(refusal, AdmissionHeld)
    assert "a repair" in refusal.detail


@pytest.mark.parametrize(
    ("refused", "room"),
    [
        (WANTED, replace(ROOM, slots={"p1": 4})),
        (replace(WANTED, at_once=0), ROOM),
        (replace(WANTED, session_id=SESSION), replace(ROOM, sessions={SESSION: Standing(TENANT, 0, 1, is_busy=True)})),
        (WANTED, replace(ROOM, holds=[("class", "p0", "a repair")])),
    ],
)
def test_each_that_may_pass_says_when_to_come_back(refused: Wanted, room: Room) -> None:
    [refusal] = seat([refused], room)

    assert isinstance(refusal, Saturated | TooManyTurns | SessionBusy | AdmissionHeld)
    assert refusal.retry_after
