"""What a run may wait for with its slot free: people, callbacks from outside, time, and other agents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agents.domain.errors import ChildFailed, RunError
from agents.domain.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to a person: a key that is never used twice in a run, a sentence, and the answer's JSON schema."""

    key: str
    sentence: str
    schema: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Callback:
    """A one-time address that something outside calls when the awaited event has happened."""

    key: str
    url: str

    @property
    def token(self) -> str:
        """The secret part of the address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Child:
    """A spawned invocation of another endpoint."""

    id: str
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a child ended: its output, or the error (`code`, `sentence`) that it failed or was cancelled with."""

    child: Child
    output: Mapping[str, Json] | None = None
    error: Mapping[str, Json] | None = None

    @property
    def is_completed(self) -> bool:
        return self.output is not None

    def value(self) -> Mapping[str, Json]:
        """Return the output. Raises ChildFailed if there is none."""
        if self.output is None:
            error = self.error or {}
            raise ChildFailed(f"{self.child.endpoint} ended without an output: {error.get('sentence') or error.get('code')}")
        return self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Children to make: one for each input, each with a cap of its own, or an equal share of what may still be spent."""

    place: str
    """The spawn's place in the run, the same on every attempt: no place makes children twice."""
    endpoint: str
    inputs: tuple[Mapping[str, Json], ...]
    cost_usd: float | None = None
    tokens: int | None = None
    model_calls: int | None = None


@dataclass(frozen=True, slots=True)
class ForAnswers:
    """Until all these questions are answered, or until then."""

    questions: tuple[Question, ...]
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ForCallback:
    """Until the callback of this key is called, or until then."""

    key: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ForMoment:
    until: datetime


@dataclass(frozen=True, slots=True)
class ForChildren:
    """Until all these children have ended, or until then."""

    ids: tuple[str, ...]
    until: datetime | None = None


Wait = ForAnswers | ForCallback | ForMoment | ForChildren


class Parked(BaseException):
    """The run gives its slot back and resumes by replay when its wait is over. Not an error: agents must not catch it."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait)
        self.wait = wait


def leading(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what a task group came to: an error of a branch before a crash, and either before a branch's wait."""
    leaves = list(_leaves(group))
    ranked = [leaf for kind in (RunError, Exception, Parked) for leaf in leaves if isinstance(leaf, kind)]
    return ranked[0] if ranked else group


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


class Waits(Protocol):
    """What an invocation can wait for.

    Each wait returns what is there, raises Parked while it is not, WaitTimedOut
    when it is not there by `until`, and WaitUnavailable where this cannot be waited for.
    """

    def now(self) -> datetime: ...

    async def answers(self, questions: Sequence[Question], *, until: datetime | None) -> Mapping[str, Json]:
        """Return the answers by key."""

    async def open_callback(self, key: str) -> str:
        """Return the address of the run's callback of this key: the same on every attempt."""

    async def called(self, key: str, *, until: datetime | None) -> Json:
        """Return the value that the callback brought."""

    async def reached(self, moment: datetime) -> None:
        """Return once the moment has come."""

    async def spawn(self, spawn: Spawn) -> Sequence[str]:
        """Return the children's ids. Raises FanOutExceeded, BudgetExceeded or ChildRefused, and has then made none."""

    async def joined(self, children: Sequence[Child], *, until: datetime | None) -> Sequence[Outcome]:
        """Return how each child ended, in the order given."""
