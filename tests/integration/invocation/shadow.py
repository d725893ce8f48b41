"""What should become of jobs, in memory and in few words: the model that the real services are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from invocation.domain.jobs import HELD_BY_A_WORKER, IDLE, PARKED, TERMINAL, Fence, JobState, is_poison


@dataclass(eq=False)
class Shadow:
    """One job as it should stand."""

    id: UUID
    tenant: UUID
    cap: Decimal
    lane: str | None = None
    expires: bool = False
    parent: Shadow | None = None
    state: JobState = JobState.QUEUED
    attempt: int = 0
    owner: UUID | None = None
    failures: int = 0
    losses: int = 0
    is_alone: bool = False
    is_timed: bool = False
    is_redriven: bool = False
    own_usd: Decimal = Decimal(0)
    children: list[Shadow] = field(default_factory=list)
    awaited: Sequence[Shadow] = ()

    @property
    def is_open(self) -> bool:
        return self.state not in TERMINAL

    @property
    def depth(self) -> int:
        return self.parent.depth + 1 if self.parent else 0

    @property
    def spent(self) -> Decimal:
        """Its own calls, and all that its ended children spent."""
        return self.own_usd + sum((child.spent for child in self.children if not child.is_open), Decimal(0))

    @property
    def lent(self) -> Decimal:
        """The caps of its open children, and what the ended ones have lent on."""
        return sum((child.cap if child.is_open else child.lent for child in self.children), Decimal(0))

    FACTS: ClassVar = ("state", "attempt", "owner", "failures", "losses", "is_alone", "spent_usd", "lent_usd")

    def facts(self) -> dict[str, Any]:
        """Return the columns of its row that must say the same."""
        values = (self.state, self.attempt, self.owner, self.failures, self.losses, self.is_alone, self.spent, self.lent)
        return dict(zip(self.FACTS, values, strict=True))

    def is_held_by(self, fence: Fence) -> bool:
        return self.state in HELD_BY_A_WORKER and (self.attempt, str(self.owner)) == (fence.attempt, fence.owner)

    def queue(self) -> None:
        self.state, self.owner, self.awaited, self.is_timed = JobState.QUEUED, None, (), False

    def park(self, state: JobState, *, is_timed: bool, awaited: Sequence[Shadow] = ()) -> None:
        self.state, self.owner, self.is_alone, self.is_timed, self.awaited = state, None, False, is_timed, awaited
        self.wake_if_joined()

    def wake_if_joined(self) -> None:
        if self.awaited and self.state is JobState.WAITING and not any(child.is_open for child in self.awaited):
            self.queue()


def end(jobs: Iterable[Shadow], state: JobState) -> None:
    """End jobs: parents that waited for them wake, and nobody waits for the children of what did not complete."""
    ended = list(jobs)
    for job in ended:
        job.state, job.owner, job.awaited, job.is_timed = state, None, (), False
    for job in ended:
        if job.parent is not None:
            job.parent.wake_if_joined()
        if state is not JobState.COMPLETED:
            stop_below(job)


def stop(jobs: Iterable[Shadow]) -> None:
    for job in list(jobs):
        if job.state is JobState.WORKING:
            job.state = JobState.CANCELLING
            stop_below(job)
        elif job.state in IDLE:
            end([job], JobState.CANCELLED)


def stop_below(job: Shadow) -> None:
    """What an ended child left running goes with the rest."""
    for child in job.children:
        if child.is_open:
            stop([child])
        else:
            stop_below(child)


def rescue(orphans: Sequence[Shadow]) -> None:
    """Workers vanished under these: whoever was alone with one is charged, and ends at the third."""
    working = [job for job in orphans if job.state is JobState.WORKING]
    stopping = [job for job in orphans if job.state is JobState.CANCELLING]
    poison = [job for job in working if job.is_alone and is_poison(job.losses + 1)]
    for job in working:
        job.losses += job.is_alone
        if job not in poison:
            job.is_alone = True
            job.queue()
    end(poison, JobState.FAILED)
    end(stopping, JobState.CANCELLED)


def wake(jobs: Iterable[Shadow]) -> None:
    """Time has passed: whatever was parked until then goes on."""
    for job in jobs:
        if job.state in PARKED and job.is_timed:
            job.queue()
