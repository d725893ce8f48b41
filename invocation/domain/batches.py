"""The states of a batch and of its shards, how a manifest is cut, and what a row becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from agents.domain.values import Json
from invocation.domain.states import Edge


class BatchState(StrEnum):
    PLANNING = "planning"
    """Its manifest is being read and cut."""
    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    GATHERING = "gathering"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ShardState(StrEnum):
    QUEUED = "queued"
    WORKING = "working"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Pause(StrEnum):
    """Why a batch waits until somebody, or its next window, resumes it."""

    ASKED = "asked"
    FAILURE_THRESHOLD = "failure_threshold"
    COST_CEILING = "cost_ceiling"
    WINDOW = "window"
    MANIFEST_CHANGED = "manifest_changed"
    SHARD_BROKE = "shard_broke"


class Publication(StrEnum):
    """What the scores made of a completed batch."""

    UNDECIDED = ""
    PUBLISHED = "published"
    HELD = "held"


class Stop(StrEnum):
    """Why a process lets a shard go before its last row."""

    HANDED_BACK = "handed_back"
    HELD = "held"
    """Its rows must wait: admission is held, the batch is paused, or the tenant's day is spent."""
    AWAY = "away"
    """Rows waited for a provider as long as a row may."""
    SPENT = "spent"
    """The batch's caps have no room for its next call."""
    SLICED = "sliced"
    """Others wait, and it has had its time."""
    ENDED = "ended"
    """Its batch was cancelled, or has failed."""


class BatchMove(StrEnum):
    PLAN = "plan"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    """Its failed rows run once more."""
    GATHER = "gather"
    GATHER_AGAIN = "gather_again"
    """Its dataset, which could not be written, is tried again."""
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


class ShardMove(StrEnum):
    CLAIM = "claim"
    CHECKPOINT = "checkpoint"
    COMPLETE = "complete"
    HAND_BACK = "hand_back"
    RESCUE = "rescue"
    RETRY = "retry"
    CANCEL = "cancel"


BATCH_ENDED = frozenset({BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED})
BATCH_SENT = (BatchState.PLANNED, BatchState.RUNNING)
"""Of these the shards are sent to workers."""
BATCH_OPEN = frozenset({BatchState.PLANNED, BatchState.RUNNING, BatchState.GATHERING})
"""What goes on by itself, without a manifest still to be read or somebody to resume it."""
BATCH_STOPPABLE = frozenset({BatchState.PLANNING, BatchState.PLANNED, BatchState.RUNNING, BatchState.PAUSED})
_SHARD_WORKING = frozenset({ShardState.WORKING})

BATCH_EDGES: Mapping[BatchMove, Edge[BatchState]] = MappingProxyType(
    {
        BatchMove.PLAN: Edge(frozenset({BatchState.PLANNING}), BatchState.PLANNED),
        BatchMove.START: Edge(frozenset({BatchState.PLANNED}), BatchState.RUNNING),
        BatchMove.PAUSE: Edge(frozenset({BatchState.PLANNED, BatchState.RUNNING}), BatchState.PAUSED),
        BatchMove.RESUME: Edge(frozenset({BatchState.PAUSED}), BatchState.RUNNING),
        BatchMove.RETRY: Edge(frozenset({BatchState.COMPLETED, BatchState.PAUSED}), BatchState.RUNNING),
        BatchMove.GATHER: Edge(frozenset({BatchState.PLANNED, BatchState.RUNNING}), BatchState.GATHERING),
        BatchMove.GATHER_AGAIN: Edge(frozenset({BatchState.FAILED}), BatchState.GATHERING),
        BatchMove.COMPLETE: Edge(frozenset({BatchState.GATHERING}), BatchState.COMPLETED),
        BatchMove.FAIL: Edge(BATCH_STOPPABLE | {BatchState.GATHERING}, BatchState.FAILED),
        BatchMove.CANCEL: Edge(BATCH_STOPPABLE | {BatchState.GATHERING}, BatchState.CANCELLED),
    }
)
SHARD_EDGES: Mapping[ShardMove, Edge[ShardState]] = MappingProxyType(
    {
        ShardMove.CLAIM: Edge(frozenset({ShardState.QUEUED}), ShardState.WORKING),
        ShardMove.CHECKPOINT: Edge(_SHARD_WORKING, ShardState.WORKING),
        ShardMove.COMPLETE: Edge(_SHARD_WORKING, ShardState.COMPLETED),
        ShardMove.HAND_BACK: Edge(_SHARD_WORKING, ShardState.QUEUED),
        ShardMove.RESCUE: Edge(_SHARD_WORKING, ShardState.QUEUED),
        ShardMove.RETRY: Edge(frozenset({ShardState.COMPLETED, ShardState.QUEUED}), ShardState.QUEUED),
        ShardMove.CANCEL: Edge(frozenset({ShardState.QUEUED, ShardState.WORKING}), ShardState.CANCELLED),
    }
)


CHECKPOINT_ROWS = 500
"""Finished rows of a shard that make a checkpoint at once; fewer do after a while."""
CHECKPOINT_S = 2.0
MOST_CHECKPOINT_S = 30.0
PARTS_AT_THAT_PACE = 50


def checkpoint_within(parts: int) -> float:
    """Return after how many seconds a few finished rows make a checkpoint: later the more parts there are, for each writes their list."""
    return min(MOST_CHECKPOINT_S, CHECKPOINT_S * max(1.0, parts / PARTS_AT_THAT_PACE))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest: its id, unique in the batch, its input and where it stands (from 1)."""

    id: str
    input: Mapping[str, Json]
    line: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A shard's part of the manifest: so many rows from line `first`, which stands at `offset` and `inside` (see manifests.Place).

    `sha256` is of its records' bytes, those of blank lines left out: what is read otherwise was changed.
    """

    index: int
    first: int
    rows: int
    offset: int
    inside: int = 0
    sha256: str = ""


MOST_SHARDS = 256


def part_name(*, shard: int, number: int, attempt: int) -> str:
    """Return the name of a shard's next staged part, by how many it has: deterministic, so that what was never committed is written over.

    With the attempt in it nobody who lost the shard writes over what counts.
    """
    return f"shard={shard:05d}/part-{number:06d}-{attempt:04d}.parquet"
