"""What a process knows of a server that answers nothing."""

from __future__ import annotations

from quota.domain import silences
from quota.domain.silences import LOOK_S, REST_S, SHORTEST_S, Silence


def silent() -> Silence:
    found = Silence()
    found.unanswered(since=0.0, at=1.0)
    return found


def test_a_server_of_which_nothing_is_known_is_asked() -> None:
    assert all(Silence().lets_ask(at=at) for at in (0.0, 0.0, 1.0))


def test_of_a_silent_server_one_at_a_time_finds_out_whether_it_still_is() -> None:
    found = silent()

    assert not found.lets_ask(at=1.0)
    assert [found.lets_ask(at=1.0 + REST_S) for _ in range(3)] == [True, False, False]
    assert found.lets_ask(at=1.0 + REST_S + LOOK_S)


def test_whoever_finds_it_silent_again_lets_it_rest() -> None:
    found = silent()
    assert found.lets_ask(at=2.0)
    found.unanswered(since=2.0, at=2.5)

    assert [found.lets_ask(at=at) for at in (2.5, 2.5 + REST_S)] == [False, True]


def test_one_answer_ends_a_silence() -> None:
    found = silent()
    found.heard(at=1.1)

    assert not found.is_known
    assert found.lets_ask(at=1.1)


def test_a_question_that_others_were_answered_after_is_no_silence_nor_one_that_was_given_up_at_once() -> None:
    found = Silence()
    found.heard(at=0.5)
    found.unanswered(since=0.4, at=9.0)
    found.unanswered(since=1.0, at=1.0 + SHORTEST_S / 2)

    assert not found.is_known


def test_the_databases_of_one_server_share_what_is_known_of_it_and_servers_do_not() -> None:
    here = silences.of("redis://:secret@localhost:6400/0")

    assert silences.of("redis://localhost:6400/1") is here
    assert silences.at_address("localhost:6400") is here
    assert silences.of("redis://localhost:6401/0") is not here
