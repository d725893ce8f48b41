"""The mode table is complete, and says what the design's table says, cell by cell."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from invocation.domain.modes import (
    EVERY_WAIT,
    NO_WAIT,
    POLICIES,
    Deadline,
    Delivery,
    FailurePolicy,
    IdempotencyScope,
    JournalKind,
    Mode,
    ModePolicy,
    Pause,
    Transport,
    policy,
)

SYNC, QUEUE, TRIGGER, WINDOW = Mode.STREAMING_SYNC, Mode.ASYNC_QUEUE, Mode.SCHEDULED_TRIGGER, Mode.BATCH_WINDOW
CELLS: dict[str, dict[Mode, Any]] = {
    "priority_class": {SYNC: "p0", QUEUE: "p1", TRIGGER: "p2", WINDOW: "p3"},
    "transport": {SYNC: Transport.SESSION, QUEUE: Transport.JOB, TRIGGER: Transport.SCHEDULE, WINDOW: Transport.BATCH},
    "deadline": {SYNC: Deadline.HARD, QUEUE: Deadline.SOFT, TRIGGER: Deadline.SOFT, WINDOW: Deadline.SOFT},
    "delivery": {SYNC: Delivery.STREAM, QUEUE: Delivery.RESULT_STORE, TRIGGER: Delivery.TARGET, WINDOW: Delivery.DATASET},
    "failure": {
        SYNC: FailurePolicy.ESCAPE_HATCH,
        QUEUE: FailurePolicy.DEAD_LETTER,
        TRIGGER: FailurePolicy.NEXT_CYCLE,
        WINDOW: FailurePolicy.ERROR_ROWS,
    },
    "tries": {SYNC: 2, QUEUE: 3, TRIGGER: 1, WINDOW: 3},
    "eval_share": {SYNC: 0.01, QUEUE: 0.05, TRIGGER: 1.0, WINDOW: 1.0},
    "idempotency": {
        SYNC: IdempotencyScope.SESSION,
        QUEUE: IdempotencyScope.JOB,
        TRIGGER: IdempotencyScope.RUN,
        WINDOW: IdempotencyScope.ROW,
    },
    "journal": {SYNC: JournalKind.ATTEMPT, QUEUE: JournalKind.JOB, TRIGGER: JournalKind.JOB, WINDOW: JournalKind.ATTEMPT},
    "may_wait": {SYNC: NO_WAIT, QUEUE: EVERY_WAIT, TRIGGER: EVERY_WAIT, WINDOW: NO_WAIT},
    "pause": {SYNC: Pause.WORKER_RESTART, QUEUE: Pause.FULL_WAIT, TRIGGER: Pause.FIRES_AGAIN, WINDOW: Pause.CHECKPOINT},
}


@pytest.mark.parametrize(("knob", "mode"), [(knob, mode) for knob in CELLS for mode in Mode])
def test_a_cell_says_what_the_design_says(knob: str, mode: Mode) -> None:
    assert getattr(policy(mode), knob) == CELLS[knob][mode]


def test_a_chat_holds_a_verified_answer_back_no_longer_than_the_design_allows() -> None:
    assert policy(SYNC).verdict.held_back == timedelta(milliseconds=400)
    assert all(policy(mode).verdict.held_back >= timedelta(seconds=30) for mode in (QUEUE, TRIGGER, WINDOW))


def test_the_promises_in_time_are_the_designs() -> None:
    assert (policy(SYNC).first_delta, policy(SYNC).whole) == (timedelta(seconds=1.4), timedelta(seconds=6))
    assert policy(QUEUE).whole == timedelta(seconds=90)
    assert policy(QUEUE).slots == 4


def test_every_mode_has_a_value_of_the_right_kind_for_every_knob() -> None:
    assert set(POLICIES) == set(Mode)
    for mode, terms in POLICIES.items():
        assert terms.mode is mode
        assert all(getattr(terms, knob.name) is not None for knob in fields(ModePolicy))
        assert min(terms.slots, terms.tries) >= 1
        assert timedelta(0) < terms.first_delta <= terms.whole < terms.ceiling
        assert terms.cost_cap_usd > 0
        assert 0 < terms.eval_share <= 1
        assert "/" in terms.right_call


def test_no_two_modes_share_a_transport_or_a_class() -> None:
    assert len({terms.transport for terms in POLICIES.values()}) == len({terms.priority_class for terms in POLICIES.values()}) == len(Mode)


def test_cost_ceilings_grow_from_a_turn_to_a_batch() -> None:
    ceilings = [policy(mode).cost_cap_usd for mode in (SYNC, QUEUE, TRIGGER, WINDOW)]

    assert ceilings == sorted(set(ceilings))
    assert all(isinstance(ceiling, Decimal) for ceiling in ceilings)


def test_tokens_and_model_calls_have_ceilings_in_every_mode_that_grow_likewise() -> None:
    modes = (SYNC, QUEUE, TRIGGER, WINDOW)
    for knob in ("token_cap", "call_cap"):
        ceilings = [getattr(policy(mode), knob) for mode in modes]
        assert ceilings[0] > 0
        assert ceilings == sorted(set(ceilings))


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        POLICIES[SYNC] = policy(QUEUE)  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        policy(SYNC).tries = 9  # type: ignore[misc]
