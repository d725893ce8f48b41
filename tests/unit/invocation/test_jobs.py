"""The table of a job's moves, and what follows a failed attempt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.domain.errors import (
    AgentError,
    BudgetExceeded,
    ProviderDown,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    RunError,
)
from invocation.domain.batches import BATCH_EDGES, BATCH_ENDED, SHARD_EDGES, BatchMove, BatchState, ShardMove, ShardState
from invocation.domain.jobs import (
    EDGES,
    FIRST_WAIT,
    IDLE,
    IN_FLIGHT,
    LONGEST_PUT_OFF,
    LONGEST_WAIT,
    NEVER_PUT_OFF,
    PARKED,
    TERMINAL,
    Fault,
    JobState,
    Move,
    Next,
    PutOffs,
    Verdict,
    is_poison,
    judge,
)
from invocation.domain.schedules import FIRING_EDGES, FiringMove, FiringState
from invocation.domain.states import Edge
from invocation.domain.turns import ENDED, OPEN, TURN_EDGES, TurnMove, TurnState
from invocation.services.calls import ModelOut
from invocation.services.lifecycle import FACTS

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TABLES: list[tuple[type[StrEnum], type[StrEnum], Mapping[Any, Edge[Any]], Any, Collection[Any]]] = [
    (JobState, Move, EDGES, JobState.QUEUED, TERMINAL),
    (TurnState, TurnMove, TURN_EDGES, TurnState.QUEUED, ENDED),
    (BatchState, BatchMove, BATCH_EDGES, BatchState.PLANNING, BATCH_ENDED),
    (ShardState, ShardMove, SHARD_EDGES, ShardState.QUEUED, {ShardState.COMPLETED, ShardState.CANCELLED}),
    (FiringState, FiringMove, FIRING_EDGES, FiringState.FIRED, set(FiringState) - {FiringState.FIRED}),
]
BEGIN_AGAIN = (BatchMove.RETRY, ShardMove.RETRY, BatchMove.GATHER_AGAIN)


def test_every_move_has_an_arrow_and_every_jobs_move_has_its_facts() -> None:
    for _, moves, edges, _, _ in TABLES:
        assert set(edges) == set(moves)
        assert all(edge.sources for edge in edges.values())
    assert set(FACTS) == set(Move)


def test_what_has_ended_has_no_way_out_but_for_rows_that_failed_and_a_dataset_that_could_not_be_written() -> None:
    for _, moves, edges, _, ended in TABLES:
        again = [move for move in moves if any(move is known for known in BEGIN_AGAIN)]
        assert all(edges[move].sources.isdisjoint(ended) for move in moves if move not in again)


def test_every_state_is_reached_and_every_state_can_end() -> None:
    for states, _, edges, first, ended in TABLES:
        arrows = [(source, edge.target) for edge in edges.values() for source in edge.sources]
        forth, back = {first}, set(ended)
        for _ in states:
            forth |= {target for source, target in arrows if source in forth}
            back |= {source for source, target in arrows if target in back}
        assert forth == back == set(states)


def test_the_groups_of_states_fit_together() -> None:
    assert TERMINAL | IN_FLIGHT | PARKED | {JobState.QUEUED} == set(JobState)
    assert not TERMINAL & IN_FLIGHT
    assert not PARKED & IN_FLIGHT
    assert {JobState.DISPATCHED} == IDLE & IN_FLIGHT
    assert set(TurnState) == OPEN | ENDED


def judged(error: RunError, *, failures: int = 1, tries: int = 3, luck: float = 0.0) -> timedelta | None:
    """Return how long a retry waits, None where the job is given up."""
    verdict = judge(error, failures=failures, tries=tries, before=NEVER_PUT_OFF, now=NOW, luck=luck)
    assert (verdict.due_at is None) is (verdict.next is Next.GIVE_UP)
    return None if verdict.due_at is None else verdict.due_at - NOW


luck = st.floats(0, 1, exclude_max=True)


@given(failures=st.integers(1, 60), luck=luck)
def test_a_wait_doubles_with_jitter_up_to_its_longest(failures: int, luck: float) -> None:
    wait = judged(ProviderUnavailable("gone"), failures=failures, tries=100, luck=luck)
    full = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 20))

    assert wait is not None
    assert full / 2 <= wait <= full


@given(failures=st.integers(1, 10), luck=luck, asked=st.integers(0, 3_600))
def test_a_wait_is_never_shorter_than_the_providers_own_word(failures: int, luck: float, asked: int) -> None:
    error = ProviderRateLimited("slower", retry_after=timedelta(seconds=asked))
    wait = judged(error, failures=failures, tries=11, luck=luck)

    assert wait is not None
    assert wait >= timedelta(seconds=asked)


@given(failures=st.integers(1, 10), tries=st.integers(1, 10))
def test_a_job_is_given_up_when_its_tries_are_spent(failures: int, tries: int) -> None:
    assert (judged(ProviderUnavailable("gone"), failures=failures, tries=tries) is None) is (failures >= tries)


def test_what_trying_again_cannot_cure_is_given_up_at_once() -> None:
    assert judged(AgentError("no")) is None
    assert judged(BudgetExceeded("spent")) is None


def outage(times: int, *, since: datetime | None = None, error: RunError | None = None) -> Verdict:
    before = PutOffs(times, since or NOW)
    return judge(error or ModelOut("out"), failures=3, tries=3, before=before, now=NOW, luck=0.0)


def test_an_outage_puts_a_job_off_longer_and_longer_and_charges_nobody() -> None:
    assert outage(0) == Verdict(Next.PUT_OFF, NOW + FIRST_WAIT / 2)
    assert outage(1) == Verdict(Next.PUT_OFF, NOW + FIRST_WAIT)
    assert outage(99) == Verdict(Next.PUT_OFF, NOW + LONGEST_WAIT / 2)


def test_a_job_that_was_put_off_for_a_day_is_given_up_however_many_tries_remain() -> None:
    almost = NOW - LONGEST_PUT_OFF + timedelta(seconds=1)

    assert outage(300, since=almost).next is Next.PUT_OFF
    assert outage(2, since=NOW - LONGEST_PUT_OFF).next is Next.GIVE_UP


def test_a_provider_that_is_down_and_a_probe_of_it_charge_nobody() -> None:
    probe = ProviderUnavailable("still out")
    probe.is_of_probe = True

    assert outage(0, error=ProviderDown("refused")).next is Next.PUT_OFF
    assert outage(0, error=probe).next is Next.PUT_OFF
    assert outage(0, error=ProviderUnavailable("broke")).next is Next.GIVE_UP


def test_a_probe_whose_request_is_refused_is_given_up() -> None:
    refused = ProviderRefused("too long")
    refused.is_of_probe = True

    assert outage(0, error=refused).next is Next.GIVE_UP


def test_a_job_that_is_put_off_waits_at_least_as_long_as_the_provider_asked() -> None:
    assert outage(0, error=ModelOut("out", retry_after=timedelta(minutes=20))) == Verdict(Next.PUT_OFF, NOW + timedelta(minutes=20))


def test_of_the_providers_own_word_a_day_counts() -> None:
    """Longer than a day it is a mistake, or nobody's to wait for."""
    year = timedelta(days=365)

    assert outage(0, error=ModelOut("out", retry_after=year)) == Verdict(Next.PUT_OFF, NOW + LONGEST_PUT_OFF)
    assert judged(ProviderRateLimited("slower", retry_after=year)) == LONGEST_PUT_OFF


def test_three_lost_workers_make_a_poison_job() -> None:
    assert [is_poison(losses) for losses in range(5)] == [False, False, False, True, True]


def test_a_fault_keeps_what_a_person_can_act_on() -> None:
    error = ProviderRateLimited("The provider is busy.", remedy="Wait.")

    assert Fault.of(error).as_json() == {
        "code": "provider_rate_limited",
        "sentence": "The provider is busy.",
        "cause": "provider",
        "remedy": "Wait.",
    }
