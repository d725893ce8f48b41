"""The states of a batch and of its shards, how a manifest is cut, and what a row becomes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from agents.domain.values import Json
from invocation.domain.errors import ManifestInvalid
from invocation.domain.states import Edge


class BatchState(StrEnum):
    PLANNED = "planned"
    RUNNING = "running"
    GATHERING = "gathering"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ShardState(StrEnum):
    QUEUED = "queued"
    WORKING = "working"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class BatchMove(StrEnum):
    START = "start"
    GATHER = "gather"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


class ShardMove(StrEnum):
    CLAIM = "claim"
    CHECKPOINT = "checkpoint"
    COMPLETE = "complete"
    HAND_BACK = "hand_back"
    RESCUE = "rescue"
    CANCEL = "cancel"


BATCH_ENDED = frozenset({BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED})
BATCH_OPEN = frozenset({BatchState.PLANNED, BatchState.RUNNING, BatchState.GATHERING})
_SHARD_WORKING = frozenset({ShardState.WORKING})

BATCH_EDGES: Mapping[BatchMove, Edge[BatchState]] = MappingProxyType(
    {
        BatchMove.START: Edge(frozenset({BatchState.PLANNED}), BatchState.RUNNING),
        BatchMove.GATHER: Edge(frozenset({BatchState.RUNNING}), BatchState.GATHERING),
        BatchMove.COMPLETE: Edge(frozenset({BatchState.GATHERING}), BatchState.COMPLETED),
        BatchMove.FAIL: Edge(frozenset({BatchState.RUNNING, BatchState.GATHERING}), BatchState.FAILED),
        BatchMove.CANCEL: Edge(frozenset({BatchState.PLANNED, BatchState.RUNNING}), BatchState.CANCELLED),
    }
)
SHARD_EDGES: Mapping[ShardMove, Edge[ShardState]] = MappingProxyType(
    {
        ShardMove.CLAIM: Edge(frozenset({ShardState.QUEUED}), ShardState.WORKING),
        ShardMove.CHECKPOINT: Edge(_SHARD_WORKING, ShardState.WORKING),
        ShardMove.COMPLETE: Edge(_SHARD_WORKING, ShardState.COMPLETED),
        ShardMove.HAND_BACK: Edge(_SHARD_WORKING, ShardState.QUEUED),
        ShardMove.RESCUE: Edge(_SHARD_WORKING, ShardState.QUEUED),
        ShardMove.CANCEL: Edge(frozenset({ShardState.QUEUED, ShardState.WORKING}), ShardState.CANCELLED),
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest: its id, unique in the batch, its input and where it stands (from 1)."""

    id: str
    input: Mapping[str, Json]
    line: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A shard's part of the manifest: lines `first` to `first + rows - 1`, from the byte `offset`."""

    index: int
    first: int
    rows: int
    offset: int


MOST_OF_AN_ID = 200


def slices(offsets: list[int], shards: int) -> Iterator[Slice]:
    """Cut a manifest, given each line's byte offset, into at most `shards` slices that differ by one row at most."""
    count = min(shards, len(offsets))
    size, rest = divmod(len(offsets), count)
    first = 0
    for index in range(count):
        rows = size + (index < rest)
        yield Slice(index, first + 1, rows, offsets[first])
        first += rows


def parse_row(line: bytes, number: int) -> Row:
    """Return the row on a manifest's line. Raises ManifestInvalid, naming the line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as broken:
        raise ManifestInvalid(f"Line {number} is not JSON: {broken}.", line=number) from None
    if not isinstance(value, dict):
        raise ManifestInvalid(f"Line {number} is a {type(value).__name__}: each line is one JSON object.", line=number)
    row_id = value.pop("row_id") if "row_id" in value else hashlib.sha256(line).hexdigest()[:16]
    if not isinstance(row_id, str) or not 1 <= len(row_id) <= MOST_OF_AN_ID or not row_id.isprintable():
        raise ManifestInvalid(
            f"Line {number}: row_id is a string of 1 to {MOST_OF_AN_ID} printable characters.", line=number, field="row_id"
        )
    return Row(row_id, value, number)


def part_name(*, shard: int, position: int, attempt: int) -> str:
    """Return the staged part's file name: deterministic, so that a restart writes over what was never committed."""
    return f"shard={shard:05d}/part-{position:09d}-{attempt:04d}.parquet"
