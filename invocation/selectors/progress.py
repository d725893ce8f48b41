"""How far a batch is, how fast it goes, when it will be done and what fails: from its shards, however many rows it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connections

from invocation.domain import forecasts, paces
from invocation.domain.batches import BATCH_ENDED, BatchState, Pause, ShardState
from invocation.domain.forecasts import Warned
from invocation.domain.windows import Window, window_of
from invocation.gateways.database import BATCH
from invocation.models import Batch, Shard

MOST_CAUSES = 10
"""The most frequent of a batch's error codes, with a row for example."""
COLUMNS = (
    "state",
    "done",
    "failed_rows",
    "round",
    "errors",
    "pace",
    "input_tokens",
    "output_tokens",
    "calls",
    "cost_usd",
)

# One step into an index for each code, whatever the number of failed rows.
SAMPLES = """
SELECT one.code, newest.row_id, newest.shard, newest.at
FROM unnest(%(codes)s::text[]) AS one (code) CROSS JOIN LATERAL (
    SELECT row_id, shard, at FROM invocation_batchrow
    WHERE batch_id = %(batch)s AND error_code = one.code AND error_code <> ''
    ORDER BY id DESC LIMIT 1) AS newest
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """An error's code, how many of the rows failed with it, and the newest of these; its id is None just after it was retried."""

    code: str
    count: int
    row_id: str | None
    shard: int | None
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a batch is.

    `rate` is rows a second of the last minute, as domain/paces has it; `eta_s` the seconds that the rest takes at that rate,
    without what lies between windows; `finish_at` when it is done, through the windows ahead. None while unknown, as
    long as nobody has resumed it.
    `rows_left` counts failed rows that run again. `is_open` says that its window, if it has one, is open.
    """

    rows_done: int
    rows_failed: int
    rows_left: int
    shards: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    model_calls: int
    cost_usd: Decimal
    cost_predicted_usd: Decimal | None
    rate: float | None
    eta_s: float | None
    finish_at: datetime | None
    is_open: bool
    opens_at: datetime | None
    closes_at: datetime | None
    warnings: Sequence[Warned]
    causes: Sequence[Cause]


def progress(batch: Batch, *, now: datetime) -> Progress:
    """Sum what the shards have committed: two queries, whatever the number of rows."""
    return told_of(batch, list(batch.shards.values(*COLUMNS)), now=now)


def told_of(batch: Batch, shards: Sequence[Mapping[str, Any]], *, now: datetime) -> Progress:
    """Return the same of shards that were read already, by COLUMNS."""
    counted = Counter(shard["state"] for shard in shards)
    done, usd = _sum(shards, "done"), sum((shard["cost_usd"] for shard in shards), Decimal(0))
    has_ended = batch.state in BATCH_ENDED
    left = 0 if has_ended else batch.rows - done + _to_redo(shards)
    rate = paces.rate((shard["pace"] for shard in shards), since=batch.running_since, now=now)
    work = None if has_ended or batch.state == BatchState.PLANNING else forecasts.time_left(left, rate)
    return Progress(
        rows_done=done,
        rows_failed=_sum(shards, "failed_rows"),
        rows_left=left,
        shards={str(state): counted[state] for state in ShardState},
        input_tokens=_sum(shards, "input_tokens"),
        output_tokens=_sum(shards, "output_tokens"),
        model_calls=_sum(shards, "calls"),
        cost_usd=usd,
        cost_predicted_usd=usd if has_ended else forecasts.cost_predicted(usd, done=done, rows=batch.rows),
        rate=None if rate is None or has_ended else round(rate, 3),
        causes=_causes(batch, shards),
        **_when(batch, work, now=now),
    )


def overall_rate(batch: Batch, done: int, *, now: datetime) -> float | None:
    """Return the rows a second since the start, pauses included."""
    if batch.started_at is None or not done:
        return None
    elapsed = ((batch.finished_at or now) - batch.started_at).total_seconds()
    return done / elapsed if elapsed > 0 else None


def window_of_batch(batch: Batch) -> Window | None:
    return window_of(batch.window) if batch.window else None


def _when(batch: Batch, work: timedelta | None, *, now: datetime) -> dict[str, Any]:
    window = window_of_batch(batch)
    span = window.next(now) if window else None
    has_ended = batch.state in BATCH_ENDED
    left = None if work is None else round(work.total_seconds(), 1)
    if batch.state == BatchState.PAUSED and (batch.pause or {}).get("code") != Pause.WINDOW:
        work = None
    return {
        "eta_s": left,
        "finish_at": forecasts.finish(work, window=window, now=now),
        "is_open": span is None or span.begins <= now,
        "opens_at": span.begins if span and not has_ended else None,
        "closes_at": span.ends if span and not has_ended else None,
        "warnings": [] if has_ended else list(forecasts.warnings(work, window=window, finish_by=batch.finish_by, now=now)),
    }


def _sum(shards: Sequence[Mapping[str, Any]], column: str) -> int:
    return sum(shard[column] for shard in shards)


def _to_redo(shards: Sequence[Mapping[str, Any]]) -> int:
    """Return how many failed rows run again: of shards that were asked to, and are not at their end."""
    open_states = (ShardState.QUEUED, ShardState.WORKING)
    return sum(shard["failed_rows"] for shard in shards if shard["round"] and shard["state"] in open_states)


def _causes(batch: Batch, shards: Sequence[Mapping[str, Any]]) -> list[Cause]:
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(shard["errors"])
    most = counts.most_common(MOST_CAUSES)
    if not most:
        return []
    with connections[BATCH].cursor() as cursor:
        cursor.execute(SAMPLES, {"codes": [code for code, _ in most], "batch": batch.pk})
        samples = {code: (row_id, shard, at) for code, row_id, shard, at in cursor.fetchall()}
    return [
        Cause(code=code, count=count, row_id=row, shard=shard, at=at)
        for code, count in most
        for row, shard, at in [samples.get(code, NONE)]
    ]


NONE: tuple[None, None, None] = (None, None, None)


def cells_of(shards: Sequence[Shard]) -> list[list[Any]]:
    """Return what a heat-map shows of each shard: [index, state, done, rows, failed rows, attempt, cost]."""
    return [[shard.index, shard.state, shard.done, shard.rows, shard.failed_rows, shard.attempt, f"{shard.cost_usd:f}"] for shard in shards]
