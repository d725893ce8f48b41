"""The four modes as one frozen table. Whatever differs between modes is a field here; nothing compares a mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from agents.domain.values import VerdictLimits
from quota.domain.classes import PriorityClass


class Mode(StrEnum):
    """How an endpoint is invoked: part of its contract, unknown to its agent."""

    STREAMING_SYNC = "streaming-sync"
    ASYNC_QUEUE = "async-queue"
    SCHEDULED_TRIGGER = "scheduled-trigger"
    BATCH_WINDOW = "batch-window"


class Transport(StrEnum):
    """The call by which a mode is invoked; a request that comes by another is a mode mismatch."""

    SESSION = "session"
    JOB = "job"
    SCHEDULE = "schedule"
    BATCH = "batch"


class Deadline(StrEnum):
    """What the latency budget means: the run ends there, or an alert looks at it."""

    HARD = "hard"
    SOFT = "soft"


class Delivery(StrEnum):
    """Where the output goes."""

    STREAM = "stream"
    RESULT_STORE = "result_store"
    TARGET = "target"
    DATASET = "dataset"


class FailurePolicy(StrEnum):
    """What follows when a run cannot be completed."""

    ESCAPE_HATCH = "escape_hatch"
    DEAD_LETTER = "dead_letter"
    NEXT_CYCLE = "next_cycle"
    ERROR_ROWS = "error_rows"


class JournalKind(StrEnum):
    """How long finished steps live: as long as the attempt, or as long as the job."""

    ATTEMPT = "attempt"
    JOB = "job"


class IdempotencyScope(StrEnum):
    SESSION = "session"
    JOB = "job"
    RUN = "run"
    ROW = "row"


class Pause(StrEnum):
    """How a run is interrupted and goes on."""

    WORKER_RESTART = "worker_restart"
    FULL_WAIT = "full_wait"
    FIRES_AGAIN = "fires_again"
    CHECKPOINT = "checkpoint"


class WaitKind(StrEnum):
    PERSON = "person"
    CALLBACK = "callback"
    TIME = "time"
    CHILDREN = "children"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModePolicy:
    """What a mode promises. Budgets are numbers in every mode, so that their absence cannot tell an agent where it is."""

    mode: Mode
    transport: Transport
    priority_class: PriorityClass
    slots: int
    """Runs in flight in one worker process."""
    first_delta: timedelta
    whole: timedelta
    deadline: Deadline
    ceiling: timedelta
    """A run that has not ended by then hangs: it is ended as run_timed_out, whatever its budget means."""
    delivery: Delivery
    failure: FailurePolicy
    tries: int
    """Failures after which a run is given up; retries of a turn happen only before its first delta."""
    cost_cap_usd: Decimal
    token_cap: int
    """Tokens of all model calls together, questions and answers."""
    call_cap: int
    """Model calls of one turn, job, batch or run."""
    eval_share: float
    idempotency: IdempotencyScope
    journal: JournalKind
    verdict: VerdictLimits
    """How long verifiers may take: a person who waits is not made to wait for them."""
    may_wait: frozenset[WaitKind]
    pause: Pause
    oldest_wait: timedelta
    """An alert looks at whatever has waited for a slot longer than this."""
    right_call: str
    """How to invoke it, for the error of one who came by another way."""


EVERY_WAIT = frozenset(WaitKind)
NO_WAIT: frozenset[WaitKind] = frozenset()

POLICIES: Mapping[Mode, ModePolicy] = MappingProxyType(
    {
        Mode.STREAMING_SYNC: ModePolicy(
            mode=Mode.STREAMING_SYNC,
            transport=Transport.SESSION,
            priority_class=PriorityClass.P0,
            slots=200,
            first_delta=timedelta(milliseconds=1_400),
            whole=timedelta(seconds=6),
            deadline=Deadline.HARD,
            ceiling=timedelta(minutes=1),
            delivery=Delivery.STREAM,
            failure=FailurePolicy.ESCAPE_HATCH,
            tries=2,
            cost_cap_usd=Decimal("0.05"),
            token_cap=60_000,
            call_cap=20,
            eval_share=0.01,
            idempotency=IdempotencyScope.SESSION,
            journal=JournalKind.ATTEMPT,
            verdict=VerdictLimits(reading=timedelta(seconds=1), held_back=timedelta(milliseconds=400)),
            may_wait=NO_WAIT,
            pause=Pause.WORKER_RESTART,
            oldest_wait=timedelta(seconds=2),
            right_call="POST /v1/chat, or WebSocket /ws/chat/{endpoint}",
        ),
        Mode.ASYNC_QUEUE: ModePolicy(
            mode=Mode.ASYNC_QUEUE,
            transport=Transport.JOB,
            priority_class=PriorityClass.P1,
            slots=4,
            first_delta=timedelta(seconds=60),
            whole=timedelta(seconds=90),
            deadline=Deadline.SOFT,
            ceiling=timedelta(minutes=30),
            delivery=Delivery.RESULT_STORE,
            failure=FailurePolicy.DEAD_LETTER,
            tries=3,
            cost_cap_usd=Decimal("0.50"),
            token_cap=1_000_000,
            call_cap=1_000,
            eval_share=0.05,
            idempotency=IdempotencyScope.JOB,
            journal=JournalKind.JOB,
            verdict=VerdictLimits(),
            may_wait=EVERY_WAIT,
            pause=Pause.FULL_WAIT,
            oldest_wait=timedelta(minutes=1),
            right_call="POST /v1/jobs",
        ),
        Mode.SCHEDULED_TRIGGER: ModePolicy(
            mode=Mode.SCHEDULED_TRIGGER,
            transport=Transport.SCHEDULE,
            priority_class=PriorityClass.P2,
            slots=4,
            first_delta=timedelta(minutes=5),
            whole=timedelta(minutes=10),
            deadline=Deadline.SOFT,
            ceiling=timedelta(hours=2),
            delivery=Delivery.TARGET,
            failure=FailurePolicy.NEXT_CYCLE,
            tries=1,
            cost_cap_usd=Decimal("2.00"),
            token_cap=4_000_000,
            call_cap=4_000,
            eval_share=1.0,
            idempotency=IdempotencyScope.RUN,
            journal=JournalKind.JOB,
            verdict=VerdictLimits(),
            may_wait=EVERY_WAIT,
            pause=Pause.FIRES_AGAIN,
            oldest_wait=timedelta(minutes=5),
            right_call="POST /v1/schedules",
        ),
        Mode.BATCH_WINDOW: ModePolicy(
            mode=Mode.BATCH_WINDOW,
            transport=Transport.BATCH,
            priority_class=PriorityClass.P3,
            slots=4,
            first_delta=timedelta(minutes=30),
            whole=timedelta(hours=1),
            deadline=Deadline.SOFT,
            ceiling=timedelta(hours=2),
            delivery=Delivery.DATASET,
            failure=FailurePolicy.ERROR_ROWS,
            tries=3,
            cost_cap_usd=Decimal("500.00"),
            token_cap=2_000_000_000_000,
            call_cap=200_000_000,
            eval_share=1.0,
            idempotency=IdempotencyScope.ROW,
            journal=JournalKind.ATTEMPT,
            verdict=VerdictLimits(),
            may_wait=NO_WAIT,
            pause=Pause.CHECKPOINT,
            oldest_wait=timedelta(hours=1),
            right_call="POST /v1/batches",
        ),
    }
)


def policy(mode: Mode) -> ModePolicy:
    return POLICIES[mode]
