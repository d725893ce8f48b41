"""The states of a job and the moves between them. Terminal states have no way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from agents.domain.errors import Cause, RunError
from agents.domain.storable import storable
from agents.domain.values import Json
from invocation.domain.states import Edge


class JobState(StrEnum):
    QUEUED = "queued"
    DISPATCHED = "dispatched"
    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Move(StrEnum):
    """Why a job changed state. Stored with every change."""

    ADMIT = "admit"
    CLAIM = "claim"
    COMPLETE = "complete"
    RETRY = "retry"
    WAKE = "wake"
    BURY = "bury"
    ASK = "ask"
    ANSWER = "answer"
    TIME_OUT = "time_out"
    WAIT = "wait"
    PUT_OFF = "put_off"
    HAND_BACK = "hand_back"
    RESCUE = "rescue"
    RECALL = "recall"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REQUEST_CANCEL = "request_cancel"
    CONFIRM_CANCEL = "confirm_cancel"


class OrderingPolicy(StrEnum):
    """What a submission does when a job of its ordering_key is still open: wait behind it, be refused, or take its place."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    REPLACE = "replace"


TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
IN_FLIGHT = frozenset({JobState.DISPATCHED, JobState.WORKING, JobState.CANCELLING})
PARKED = frozenset({JobState.INPUT_REQUIRED, JobState.WAITING})
HELD_BY_A_WORKER = frozenset({JobState.WORKING, JobState.CANCELLING})
WORKING = frozenset({JobState.WORKING})
MAY_EXPIRE = frozenset({JobState.QUEUED, *PARKED})
IDLE = frozenset({JobState.QUEUED, JobState.DISPATCHED, *PARKED})

EDGES: Mapping[Move, Edge[JobState]] = MappingProxyType(
    {
        Move.ADMIT: Edge(frozenset({JobState.QUEUED}), JobState.DISPATCHED),
        Move.CLAIM: Edge(frozenset({JobState.DISPATCHED}), JobState.WORKING),
        Move.COMPLETE: Edge(WORKING, JobState.COMPLETED),
        Move.RETRY: Edge(WORKING, JobState.WAITING),
        Move.WAKE: Edge(frozenset({JobState.WAITING}), JobState.QUEUED),
        Move.BURY: Edge(WORKING, JobState.FAILED),
        Move.ASK: Edge(WORKING, JobState.INPUT_REQUIRED),
        Move.ANSWER: Edge(frozenset({JobState.INPUT_REQUIRED}), JobState.QUEUED),
        Move.TIME_OUT: Edge(frozenset({JobState.INPUT_REQUIRED}), JobState.QUEUED),
        Move.WAIT: Edge(WORKING, JobState.WAITING),
        Move.PUT_OFF: Edge(WORKING, JobState.WAITING),
        Move.HAND_BACK: Edge(WORKING, JobState.QUEUED),
        Move.RESCUE: Edge(WORKING, JobState.QUEUED),
        Move.RECALL: Edge(frozenset({JobState.DISPATCHED}), JobState.QUEUED),
        Move.CANCEL: Edge(IDLE, JobState.CANCELLED),
        Move.EXPIRE: Edge(IDLE, JobState.CANCELLED),
        Move.REQUEST_CANCEL: Edge(WORKING, JobState.CANCELLING),
        Move.CONFIRM_CANCEL: Edge(frozenset({JobState.CANCELLING}), JobState.CANCELLED),
    }
)


class Fence(NamedTuple):
    """The right of one attempt to write: the job, the number of the attempt, and the process that holds it."""

    job_id: str
    attempt: int
    owner: str


class Next(StrEnum):
    """What follows a failed attempt."""

    RETRY = "retry"
    PUT_OFF = "put_off"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows a failed attempt and, for a retry, when."""

    next: Next
    due_at: datetime | None = None


FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=5)
MOST_DOUBLINGS = 30
LONGEST_PUT_OFF = timedelta(hours=24)
"""A job that came no further for so long because of what is not its own fault ends all the same: somebody must look."""


@dataclass(frozen=True, slots=True)
class PutOffs:
    """How often a job was put off since it last came further, and since when."""

    times: int = 0
    since: datetime | None = None


NEVER_PUT_OFF = PutOffs()


def judge(error: RunError, *, failures: int, tries: int, before: PutOffs, now: datetime, luck: float) -> Verdict:
    """Retry while the error is curable and tries remain; `failures` counts this one, `luck` is uniform in [0, 1).

    The wait doubles from one second to five minutes with full jitter of a half
    (Brooker, "Exponential Backoff And Jitter"), and is never shorter than the provider's own word, of which a day
    counts. What is charged to nobody (a provider that is out, a probe of it, a quota without room) puts the job off, for a day
    in all; then it is given up, however many tries remain.
    """
    if not error.is_own and error.retryable:
        is_over = before.since is not None and now - before.since >= LONGEST_PUT_OFF
        return Verdict(Next.GIVE_UP) if is_over else Verdict(Next.PUT_OFF, now + _wait(before.times + 1, error, luck=luck))
    if not error.retryable or failures >= tries:
        return Verdict(Next.GIVE_UP)
    return Verdict(Next.RETRY, now + _wait(failures, error, luck=luck))


def _wait(number: int, error: RunError, *, luck: float) -> timedelta:
    wait: timedelta = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(number - 1, MOST_DOUBLINGS)) * (0.5 + luck / 2)
    return max(wait, min(error.retry_after or timedelta(), LONGEST_PUT_OFF))


LOSSES_OF_A_POISON_JOB = 3


def is_poison(losses: int) -> bool:
    """Three workers vanished under it: it is not tried again."""
    return losses >= LOSSES_OF_A_POISON_JOB


BROKE = "Something broke while this ran. It is not the input's fault."
ASK_AGAIN = "Ask again; if it breaks again, tell whoever runs this its id."


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as it is stored with a job, a turn or a row.

    Sentence and remedy are for whoever asked. `broke` is for operators alone: what an error says that may
    quote the code, another tenant's value or a secret.
    """

    code: str
    sentence: str
    cause: Cause
    remedy: str
    broke: str = ""

    @classmethod
    def of(cls, error: RunError) -> Fault:
        sentence, remedy = storable(error.sentence), storable(error.remedy)
        if error.is_for_operators:
            return cls(code=error.code, sentence=BROKE, cause=error.cause, remedy=ASK_AGAIN, broke=f"{sentence}\n{remedy}")
        return cls(code=error.code, sentence=sentence, cause=error.cause, remedy=remedy)

    def as_json(self) -> dict[str, str]:
        told = {"code": self.code, "sentence": self.sentence, "cause": str(self.cause), "remedy": self.remedy}
        return told | {"broke": self.broke} if self.broke else told


def without_broke(fault: Mapping[str, Json] | None) -> dict[str, Json] | None:
    """Return a stored error as whoever asked is told it."""
    return None if fault is None else {name: value for name, value in fault.items() if name != "broke"}
