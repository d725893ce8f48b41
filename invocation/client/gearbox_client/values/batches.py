"""Batches, their shards and where their datasets lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Why a batch will not be done in time: `window` or `finish_by`."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """An error's code, how many rows failed with it, and the newest of them."""

    code: str
    count: int
    row_id: str | None = None
    shard: int | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why a batch waits."""

    code: str
    sentence: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When a batch may run: from one time of the day, HH:MM, to another on a zone's clocks."""

    start: str
    end: str
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the scores said of a completed dataset, and why it is published, held or neither."""

    sentence: str
    rows: int
    at: datetime
    mean: float | None = None
    expected: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a batch is: rows, shards by state, money, and when it may be done.

    `rate` is rows a second of the last minute, `eta_s` seconds of work, `finish_at` when it is done through the windows ahead.
    """

    rows_done: int
    rows_failed: int
    shards: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    model_calls: int = 0
    rows_left: int = 0
    cost_predicted_usd: Decimal | None = None
    rate: float | None = None
    eta_s: float | None = None
    finish_at: datetime | None = None
    is_open: bool = True
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    warnings: tuple[Warned, ...] = ()
    errors: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as it stands; a list leaves `progress` out."""

    id: str
    state: str
    endpoint: str
    agent: str
    rows: int
    created_at: datetime
    mode: str = ""
    manifest_sha256: str = ""
    cost_cap_usd: Decimal | None = None
    token_cap: int | None = None
    call_cap: int | None = None
    traceparent: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    fault: Mapping[str, Any] | None = None
    gathering: Mapping[str, Any] | None = None
    pause: Pause | None = None
    window: Window | None = None
    finish_by: datetime | None = None
    publication: str = ""
    scores: Scores | None = None
    round: int = 0
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    index: int
    state: str
    first_line: int
    rows: int
    position: int
    done: int
    failed_rows: int
    attempt: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Where a finished batch's Parquet lies, below the tenant's folder of the object store."""

    id: str
    location: str
    manifest: Mapping[str, Any]
