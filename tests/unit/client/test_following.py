from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gearbox_client import AsyncGearbox, Event, Gearbox, NotFound, Problem, Reconnects, Unreachable, UnreadableAnswer
from tests.unit.client.scripted import Answer, Script, event, events, problem, serving

QUICK = Reconnects(most=3, first_pause=timedelta(milliseconds=10))
IMPATIENT = replace(QUICK, longest_silence=timedelta(milliseconds=300))
JOB = {"id": "j", "endpoint": "e@1", "agent": "a@1", "attempt": 1, "created_at": "2026-11-20T12:00:00Z"}
QUEUED, WORKING, DONE = event(1, "job.queued"), event(2, "job.working"), event(3, "job.completed")
SESSION = {"X-Gearbox-Session": "s-1", "X-Gearbox-Turn": "t-1"}


def job(state: str, *, last_seq: int) -> Answer:
    return Answer(200, {**JOB, "state": state, "last_seq": last_seq})


def followed(*answers: Answer, after: int = 0, rules: Reconnects = QUICK) -> tuple[list[int], Script]:
    with serving(*answers) as script, Gearbox(script.url, "gbx_k", reconnects=rules) as gearbox:
        return [each.seq for each in gearbox.jobs.follow("j", after=after)], script


def places(script: Script) -> list[str | None]:
    return [asked.headers.get("last-event-id") for asked in script.asked if asked.path.endswith("/events")]


def test_a_job_is_followed_to_its_last_event() -> None:
    seqs, script = followed(events(QUEUED, WORKING, DONE))

    assert seqs == [1, 2, 3]
    assert len(script.asked) == 1
    assert script.asked[0].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize("broken", [events(QUEUED, WORKING, cuts=True), events(QUEUED, WORKING)])
def test_a_stream_that_breaks_off_is_resumed_behind_the_last_event(broken: Answer) -> None:
    seqs, script = followed(broken, events(DONE))

    assert seqs == [1, 2, 3]
    assert places(script) == ["0", "2"]


def test_an_event_that_comes_again_is_not_told_again() -> None:
    seqs, _ = followed(events(QUEUED, WORKING, cuts=True), events(QUEUED, WORKING, DONE))

    assert seqs == [1, 2, 3]


def test_half_an_event_is_not_told_and_is_read_whole_after_the_cut() -> None:
    torn = events(QUEUED, WORKING)
    seqs, script = followed(Answer(200, torn.body[:-20], torn.headers, cuts=True), events(WORKING, DONE))

    assert seqs == [1, 2, 3]
    assert places(script) == ["0", "1"]


def test_a_heartbeat_is_heard_and_not_told() -> None:
    seqs, script = followed(events(QUEUED, event(1, "heartbeat"), cuts=True), events(event(1, "heartbeat"), WORKING, DONE))

    assert seqs == [1, 2, 3]
    assert places(script) == ["0", "1"]


def test_a_heartbeat_is_not_told_whatever_its_place() -> None:
    assert followed(events(event(5, "heartbeat"), QUEUED, DONE))[0] == [1, 3]


def test_nothing_behind_the_last_event_is_told() -> None:
    assert followed(events(QUEUED, DONE, event(4, "progress")))[0] == [1, 3]


def test_a_job_whose_end_was_seen_before_is_followed_no_further() -> None:
    seqs, script = followed(events(), job("completed", last_seq=3), after=3)

    assert seqs == []
    assert [asked.path for asked in script.asked] == ["/v1/jobs/j/events", "/v1/jobs/j"]


def test_an_end_that_a_stream_closed_just_before_is_not_missed() -> None:
    seqs, script = followed(events(), job("completed", last_seq=3), events(DONE), after=2)

    assert seqs == [3]
    assert places(script) == ["2", "2"]


def test_a_connection_that_falls_silent_is_opened_again() -> None:
    seqs, script = followed(Answer(hangs=True), events(QUEUED, DONE), rules=IMPATIENT)

    assert seqs == [1, 3]
    assert len(script.asked) >= 2


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_is_away_for_a_while_is_one_more_cut(status: int) -> None:
    away = problem(status, "away", retry_after="0")
    seqs, _ = followed(events(QUEUED, cuts=True), away, away, events(WORKING, DONE))

    assert seqs == [1, 2, 3]


def test_a_stream_that_brings_nothing_again_and_again_is_given_up() -> None:
    with serving(events(cuts=True)) as script, Gearbox(script.url, "gbx_k", reconnects=QUICK) as gearbox, pytest.raises(Unreachable):
        list(gearbox.jobs.follow("j"))

    assert len(script.asked) == 1 + QUICK.most


def test_whoever_brings_something_is_not_given_up() -> None:
    cuts = [events(event(seq, "progress"), cuts=True) for seq in range(1, 8)]

    assert followed(*cuts, events(event(8, "job.failed")))[0] == list(range(1, 9))


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (401, Problem)])
def test_a_refusal_is_raised_and_not_tried_again(status: int, kind: type[Problem]) -> None:
    with (
        serving(events(QUEUED, cuts=True), problem(status, "refused")) as script,
        Gearbox(script.url, "gbx_k", reconnects=QUICK) as gearbox,
    ):
        told: Iterator[Event] = gearbox.jobs.follow("j")
        assert next(told).seq == 1
        with pytest.raises(kind):
            next(told)

    assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(200, {"hello": 1}), "no event stream"),
        (Answer(200, "data: {}\n\n", {"Content-Type": "text/event-stream"}), "Event.seq is missing"),
        (Answer(200, "data: hello\n\n", {"Content-Type": "text/event-stream"}), "not JSON"),
    ],
)
def test_what_is_no_stream_of_ours_is_refused(answer: Answer, why: str) -> None:
    with serving(answer) as script, Gearbox(script.url, "gbx_k", reconnects=QUICK) as gearbox, pytest.raises(UnreadableAnswer, match=why):
        list(gearbox.jobs.follow("j"))


def test_a_reader_that_has_enough_closes_its_connection() -> None:
    with serving(events(QUEUED, WORKING, DONE)) as script, Gearbox(script.url, "gbx_k", reconnects=QUICK) as gearbox:
        with closing(gearbox.jobs.follow("j")) as told:
            assert next(told).seq == 1

        assert gearbox._wire._http._transport._pool.connections == []  # type: ignore[attr-defined]


async def test_the_awaited_client_follows_the_same() -> None:
    answers = [
        events(QUEUED, WORKING, cuts=True),
        problem(503, "held", retry_after="0"),
        events(),
        job("working", last_seq=2),
        events(WORKING, DONE),
    ]
    with serving(*answers) as script:
        async with AsyncGearbox(script.url, "gbx_k", reconnects=QUICK) as gearbox, aclosing(gearbox.jobs.follow("j")) as told:
            assert [each.seq async for each in told] == [1, 2, 3]

    assert places(script) == ["0", "2", "2", "2"]


def turn(seq: int, kind: str, **data: Any) -> dict[str, Any]:
    return event(seq, kind, turn="t-1", **data)


def sent(*answers: Answer) -> tuple[list[Event], Script]:
    with serving(*answers) as script, Gearbox(script.url, "gbx_k", reconnects=QUICK) as gearbox:
        return list(gearbox.chat.send("chat@1", {"text": "?"})), script


def test_a_question_that_is_cut_off_is_resumed_in_its_session_and_not_asked_again() -> None:
    told, script = sent(events(turn(5, "turn.started"), turn(6, "delta"), headers=SESSION, cuts=True), events(turn(7, "turn.completed")))

    assert [each.seq for each in told] == [5, 6, 7]
    assert [(asked.method, asked.path, asked.headers.get("last-event-id")) for asked in script.asked] == [
        ("POST", "/v1/chat", None),
        ("GET", "/v1/sessions/s-1/events", "6"),
    ]


def test_a_question_ends_with_its_own_turn_and_not_with_another() -> None:
    other = event(7, "turn.completed", turn="t-0")
    told, _ = sent(events(turn(6, "turn.started"), other, turn(8, "turn.failed"), event(9, "turn.started"), headers=SESSION))

    assert [each.seq for each in told] == [6, 7, 8]


def test_a_question_that_is_cut_off_before_its_first_event_is_not_told_of_the_turns_before() -> None:
    before = [event(1, "turn.started", turn="t-0"), event(2, "delta", text="old"), event(3, "turn.completed", turn="t-0")]
    told, script = sent(events(headers=SESSION, cuts=True), events(*before, turn(4, "turn.started"), turn(5, "turn.completed")))

    assert [each.seq for each in told] == [4, 5]
    assert [asked.path for asked in script.asked] == ["/v1/chat", "/v1/sessions/s-1/events"]


def test_an_answer_without_its_session_is_refused() -> None:
    with pytest.raises(UnreadableAnswer, match="x-gearbox"):
        sent(events(turn(1, "turn.started"), cuts=True))


def test_a_question_that_got_no_answer_is_not_asked_twice() -> None:
    with (
        serving(Answer(hangs=True)) as script,
        Gearbox(script.url, "gbx_k", reconnects=IMPATIENT) as gearbox,
        pytest.raises(Unreachable),
    ):
        list(gearbox.chat.send("chat@1", {}))

    assert len(script.asked) == 1


def test_a_shed_question_is_raised_with_what_the_server_says() -> None:
    with (
        serving(problem(503, "saturated", retry_after="0")) as script,
        Gearbox(script.url, "gbx_k") as gearbox,
        pytest.raises(Problem, match="saturated"),
    ):
        list(gearbox.chat.send("chat@1", {}))

    assert len(script.asked) == 1


def test_a_gap_is_told_once_with_its_text() -> None:
    gap = turn(5, "gap", text="Read Monster.")
    told, _ = sent(events(turn(5, "delta"), gap, headers=SESSION, cuts=True), events(gap, turn(9, "turn.completed")))

    assert [(each.seq, each.type) for each in told] == [(5, "delta"), (5, "gap"), (9, "turn.completed")]


def test_a_turn_that_has_ended_and_tells_nothing_more_is_over() -> None:
    rested = Answer(200, {"turns": [{"id": "t-1", "state": "completed"}]})
    told, script = sent(events(turn(5, "delta"), headers=SESSION), events(), rested)

    assert [each.seq for each in told] == [5]
    assert [asked.path for asked in script.asked][-1] == "/v1/sessions/s-1"
