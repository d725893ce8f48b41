"""Every state against every move, through PostgreSQL: a move is made from its sources, by its holder, or not at all."""

from __future__ import annotations

import threading
import time
from copy import copy
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from invocation.domain.errors import StaleMove
from invocation.domain.jobs import EDGES, HELD_BY_A_WORKER, IN_FLIGHT, TERMINAL, JobState, Move
from invocation.models import Job, JobEvent
from invocation.models.jobs import COUNTS
from invocation.services import lifecycle
from tests.integration.invocation.rows import NOW, QUESTIONS, a_job, snapshot, told

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(seconds=5)
GIVEN: dict[Move, dict[str, Any]] = {
    Move.CLAIM: {"owner": str(uuid4())},
    Move.RETRY: {"due_at": LATER, "error": {"code": "provider_unavailable"}},
    Move.BURY: {"charged": 1, "error": {"code": "agent_crashed"}, "cause": "bad_code", "reason": "agent_crashed"},
    Move.ASK: {"questions": dict(QUESTIONS)},
    Move.ANSWER: {"answers": {"agreed": True}},
    Move.WAIT: {"due_at": LATER, "awaiting": {"callback": "paid"}, "reason": "callback"},
    Move.PUT_OFF: {"due_at": LATER, "reason": "provider_down"},
    Move.RESCUE: {"charged": 1},
    Move.CANCEL: {"reason": "asked"},
    Move.REQUEST_CANCEL: {"reason": "asked"},
}
PAIRS = [(state, move) for state in JobState for move in Move]
ALLOWED = [(state, move) for state, move in PAIRS if state in EDGES[move].sources]
REFUSED = [(state, move) for state, move in PAIRS if state not in EDGES[move].sources]


@pytest.mark.parametrize(("state", "move"), ALLOWED)
def test_a_move_leads_from_its_source_to_its_target_and_is_written_down(state: JobState, move: Move) -> None:
    job = a_job(state)
    lifecycle.move_one(move, lifecycle.of(job.pk, **GIVEN.get(move, {})), now=LATER)
    job.refresh_from_db()

    assert job.state == EDGES[move].target
    assert told(job) == [(1, "job.queued"), (2, f"job.{job.state}")]
    event = job.events.get(seq=2)
    assert (event.at, event.data["move"], event.data["attempt"]) == (LATER, move, job.attempt)


@pytest.mark.parametrize(("state", "move"), REFUSED)
def test_a_move_from_any_other_state_changes_nothing(state: JobState, move: Move) -> None:
    job = a_job(state)
    before = snapshot(job)
    with pytest.raises(StaleMove):
        lifecycle.move_one(move, lifecycle.of(job.pk, **GIVEN.get(move, {})), now=LATER)

    assert snapshot(job) == before


def test_a_longer_life_has_a_history_without_a_gap() -> None:
    job = a_job()
    story = [
        Move.ADMIT,
        Move.CLAIM,
        Move.RETRY,
        Move.WAKE,
        Move.ADMIT,
        Move.CLAIM,
        Move.ASK,
        Move.ANSWER,
        Move.ADMIT,
        Move.CLAIM,
        Move.COMPLETE,
    ]
    for move in story:
        lifecycle.move_one(move, lifecycle.of(job.pk, **GIVEN.get(move, {})), now=LATER)
    job.refresh_from_db()

    assert [seq for seq, _ in told(job)] == list(range(1, len(story) + 2))
    assert [event.data["move"] for event in job.events.order_by("seq")] == ["submit", *story]
    assert (job.attempt, job.failures, job.losses, job.answers) == (3, 1, 0, {"agreed": True})
    assert (job.error, job.owner, job.questions, job.due_at, job.reason) == (None, None, None, None, "")


def test_losses_and_failures_are_counted_apart_and_the_attempt_only_grows() -> None:
    job = a_job()
    for move in [Move.ADMIT, Move.CLAIM, Move.RESCUE, Move.ADMIT, Move.CLAIM, Move.HAND_BACK, Move.ADMIT, Move.CLAIM, Move.RETRY]:
        lifecycle.move_one(move, lifecycle.of(job.pk, **GIVEN.get(move, {})), now=LATER)
    job.refresh_from_db()

    assert (job.attempt, job.failures, job.losses) == (3, 1, 1)


RESTS = [Move.RETRY, Move.ASK, Move.WAIT, Move.PUT_OFF]


@pytest.mark.parametrize("move", RESTS)
def test_a_run_that_came_to_rest_by_itself_need_not_be_alone_any_more(move: Move) -> None:
    job = a_job(JobState.WORKING, is_alone=True)
    lifecycle.move_one(move, lifecycle.of(job.pk, **GIVEN[move]), now=LATER)

    assert not Job.objects.get(pk=job.pk).is_alone


@pytest.mark.parametrize("move", [Move.HAND_BACK, Move.RECALL])
def test_what_was_handed_back_unfinished_is_still_to_run_alone(move: Move) -> None:
    [source] = EDGES[move].sources
    job = a_job(source, is_alone=True, losses=1)
    lifecycle.move_one(move, lifecycle.of(job.pk), now=LATER)
    job.refresh_from_db()

    assert (job.is_alone, job.losses, job.failures) == (True, 1, 0)


READY = sorted(move for move, edge in EDGES.items() if edge.target is JobState.QUEUED)


@pytest.mark.parametrize("move", READY)
def test_whatever_ran_or_waited_before_goes_before_what_is_new(move: Move) -> None:
    for source in EDGES[move].sources:
        job = a_job(source, rank=1)
        lifecycle.move_one(move, lifecycle.of(job.pk, **GIVEN.get(move, {})), now=LATER)
        job.refresh_from_db()

        assert (job.rank, job.queued_at, job.dispatched_at, job.owner) == (0, LATER, None, None)
        assert (job.questions, job.awaiting, job.due_at) == (None, None, None)


def test_what_a_job_waits_for_is_kept_with_it_until_it_goes_on() -> None:
    job = a_job(JobState.WORKING)
    lifecycle.move_one(Move.WAIT, lifecycle.of(job.pk, **GIVEN[Move.WAIT]), now=NOW)
    job.refresh_from_db()
    assert (job.state, job.reason, job.awaiting, job.due_at, job.owner) == ("waiting", "callback", {"callback": "paid"}, LATER, None)

    lifecycle.move_one(Move.WAKE, lifecycle.of(job.pk), now=LATER)
    job.refresh_from_db()
    assert (job.state, job.reason, job.awaiting, job.due_at) == ("queued", "callback", None, None)


def test_a_question_that_nobody_answered_in_time_queues_the_job_again() -> None:
    job = a_job(JobState.INPUT_REQUIRED)
    lifecycle.move_one(Move.TIME_OUT, lifecycle.of(job.pk), now=LATER)
    job.refresh_from_db()

    assert (job.state, job.reason, job.questions, job.answers) == ("queued", "unanswered", None, {})


def test_a_burial_is_charged_to_the_job_or_to_the_worker_that_was_lost() -> None:
    guilty, lost = a_job(JobState.WORKING, failures=2), a_job(JobState.WORKING, losses=2)
    for job, charged in [(guilty, 1), (lost, 0)]:
        lifecycle.move_one(Move.BURY, lifecycle.of(job.pk, **GIVEN[Move.BURY] | {"charged": charged}), now=LATER)
        job.refresh_from_db()

    assert (guilty.failures, guilty.losses) == (3, 0)
    assert (lost.failures, lost.losses) == (0, 3)


def test_only_those_of_a_group_that_stand_right_are_moved() -> None:
    queued, working = a_job(), a_job(JobState.WORKING)

    assert lifecycle.move(Move.ADMIT, [lifecycle.of(queued.pk), lifecycle.of(working.pk), lifecycle.of(uuid4())], now=LATER) == {queued.pk}
    assert lifecycle.move(Move.ADMIT, [], now=LATER) == set()


def test_a_note_takes_the_next_place_in_the_history() -> None:
    job = a_job(JobState.WORKING)
    lifecycle.note(job.pk, "progress", {"done": 1, "of": 2}, now=LATER)
    lifecycle.move_one(Move.COMPLETE, lifecycle.of(job.pk), now=LATER)

    assert told(job) == [(1, "job.queued"), (2, "progress"), (3, "job.completed")]


CONTEXT = {"context_key": "cart", "context_version": 1, "relevance": "deliver"}


@pytest.mark.parametrize("state", JobState)
def test_the_database_refuses_an_owner_where_no_worker_holds_the_job(state: JobState) -> None:
    job = a_job(state)
    wrong = None if state in HELD_BY_A_WORKER else uuid4()
    with pytest.raises(IntegrityError, match="job_is_owned_only_while_working"), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(owner=wrong)


@pytest.mark.parametrize("state", JobState)
def test_the_database_refuses_an_end_that_is_none(state: JobState) -> None:
    job = a_job(state)
    wrong = None if state in TERMINAL else NOW
    with pytest.raises(IntegrityError, match="job_is_finished_only_when_terminal"), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(finished_at=wrong)


@pytest.mark.parametrize(
    ("state", "columns", "rule"),
    [
        (JobState.QUEUED, {"state": "sleeping"}, "job_state_is_known"),
        (JobState.COMPLETED, {"cause": "provider"}, "job_has_a_cause_only_when_failed"),
        (JobState.INPUT_REQUIRED, {"questions": None}, "job_asks_a_question_when_input_is_required"),
        (JobState.QUEUED, {"is_behind": True}, "job_is_behind_only_in_a_lane"),
        (JobState.QUEUED, {"context_key": "cart"}, "job_names_a_context_with_version_and_policy_or_none"),
        *[(JobState.WORKING, {column: -1}, "job_holds_no_less_than_nothing") for column in ("held_usd", "held_tokens", "held_calls")],
        *[(JobState.WORKING, {column: -1, **CONTEXT}, "job_counts_are_not_negative") for column in COUNTS if column != "context_version"],
        (JobState.WORKING, {**CONTEXT, "context_version": -1}, "job_counts_are_not_negative"),
    ],
)
def test_the_database_keeps_the_law_of_states(state: JobState, columns: dict[str, Any], rule: str) -> None:
    job = a_job(state)
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(**columns)


def test_the_history_cannot_hold_a_place_twice() -> None:
    job = a_job()
    with pytest.raises(IntegrityError, match="job_event_seq_is_unique"), transaction.atomic():
        JobEvent.objects.create(job=job, seq=1, type="job.queued", at=NOW)


def test_what_is_in_flight_counts_against_a_plan_and_what_is_parked_does_not() -> None:
    assert {JobState.DISPATCHED, JobState.WORKING, JobState.CANCELLING} == IN_FLIGHT


@pytest.mark.django_db(transaction=True)
def test_a_group_locks_its_jobs_by_id_however_they_are_named_and_stored() -> None:
    """Whoever waits for the first of them holds none of the others: so no two groups wait for each other."""
    second, first = a_job(JobState.WORKING, id=UUID(int=2)).pk, a_job(JobState.WORKING, id=UUID(int=1)).pk
    _among_many(JobState.WORKING)
    mover = threading.Thread(target=_move_apart, args=([second, first],))

    with transaction.atomic():
        Job.objects.select_for_update().get(pk=first)
        mover.start()
        _wait_for_a_waiter()
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM invocation_job WHERE id = %s FOR UPDATE NOWAIT", [second])
            found = cursor.fetchall()
    mover.join()

    assert found == [(second,)]
    assert set(Job.objects.filter(pk__in=[first, second]).values_list("state", flat=True)) == {JobState.QUEUED}


def _among_many(state: JobState) -> None:
    """Add more jobs than a group is taken to have: a plan then may walk the table in the order in which it is stored."""
    one = a_job(state)
    others = [copy(one) for _ in range(400)]
    for other in others:
        other.pk = uuid4()
    Job.objects.bulk_create(others)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE invocation_job")


def _move_apart(order: list[UUID]) -> None:
    """Move by the plan that a server with other statistics may choose."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_nestloop = off")
            cursor.execute("SET LOCAL enable_mergejoin = off")
            lifecycle.move(Move.RESCUE, [lifecycle.of(each, charged=0) for each in order], now=LATER)
    finally:
        connection.close()


def _wait_for_a_waiter() -> None:
    with connection.cursor() as cursor:
        for _ in range(1_000):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
            time.sleep(0.01)
    raise AssertionError("nobody waits for the job that is held")
