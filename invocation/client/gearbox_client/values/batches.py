"""Batches, their shards and where their datasets lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a batch is: rows, shards by state, money, and when it may be done."""

    rows_done: int
    rows_failed: int
    shards: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    model_calls: int = 0
    rate: float | None = None
    eta_s: float | None = None


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
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    index: int
    state: str
    first_line: int
    rows: int
    position: int
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
