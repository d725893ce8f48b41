from __future__ import annotations

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.domain.sampling import SHARES, is_sampled
from invocation.domain.modes import Mode

SPACE = UUID("5b7c2f0e-6d1a-4c39-9d57-2f1f3f9b8a10")
RUNS = 20_000


@given(run_id=st.uuids(), share=st.floats(0, 1))
def test_a_run_is_sampled_always_or_never(run_id: UUID, share: float) -> None:
    assert is_sampled(run_id, share) == is_sampled(UUID(str(run_id)), share)


@given(run_id=st.uuids(), small=st.floats(0, 1), large=st.floats(0, 1))
def test_a_run_that_is_in_a_share_is_in_every_larger_one(run_id: UUID, small: float, large: float) -> None:
    small, large = sorted((small, large))
    assert is_sampled(run_id, large) or not is_sampled(run_id, small)


@given(run_id=st.uuids())
def test_no_run_is_in_an_empty_share_and_every_run_in_the_whole(run_id: UUID) -> None:
    assert not is_sampled(run_id, 0.0)
    assert is_sampled(run_id, 1.0)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.9])
def test_the_share_of_sampled_runs_is_the_share_asked_for(share: float) -> None:
    found = sum(is_sampled(uuid5(SPACE, str(number)), share) for number in range(RUNS)) / RUNS
    five_deviations = 5 * (share * (1 - share) / RUNS) ** 0.5
    assert abs(found - share) < five_deviations


def test_ids_that_follow_one_another_in_time_are_sampled_evenly() -> None:
    first = UUID("019a9f00-0000-7000-8000-000000000000").int
    found = sum(is_sampled(UUID(int=first + (number << 80)), 0.05) for number in range(RUNS)) / RUNS
    assert abs(found - 0.05) < 5 * (0.05 * 0.95 / RUNS) ** 0.5


def test_every_mode_has_the_share_that_the_mode_table_promises() -> None:
    assert dict(SHARES) == {
        Mode.STREAMING_SYNC: 0.01,
        Mode.ASYNC_QUEUE: 0.05,
        Mode.SCHEDULED_TRIGGER: 1.0,
        Mode.BATCH_WINDOW: 1.0,
    }
