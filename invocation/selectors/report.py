"""What each mode did: the figures of the demo's table, from the durable records of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connections

from invocation.domain.modes import Mode
from invocation.gateways.database import BATCH, DEFAULT

# Jobs, turns and firings have a record an attempt.
RUNS = """
SELECT mode, count(*), count(*) FILTER (WHERE outcome = 'completed'), count(*) FILTER (WHERE outcome = 'failed'),
    percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY first_delta_ms + waited_ms),
    percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms),
    sum(input_tokens + output_tokens), sum(cost_usd), 0
FROM invocation_runrecord WHERE finished_at >= %(since)s GROUP BY mode
"""
# A batch's rows are counted by its shards, maybe in another database; how long each took stands in the dataset alone.
ROWS = """
SELECT mode, sum(position), sum(position - failed_rows), sum(failed_rows), NULL, NULL,
    sum(shard.input_tokens + shard.output_tokens), sum(shard.cost_usd), sum(position)
FROM invocation_shard AS shard JOIN invocation_batch AS batch ON batch.id = batch_id WHERE shard.started_at >= %(since)s GROUP BY mode
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeFigures:
    """One mode's runs since a moment; lengths in milliseconds, None where nothing was measured."""

    mode: Mode
    runs: int = 0
    completed: int = 0
    failures: int = 0
    first_delta_ms_p50: int | None = None
    first_delta_ms_p95: int | None = None
    duration_ms_p50: int | None = None
    duration_ms_p95: int | None = None
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    rows: int | None = None
    """Of these runs, a batch's rows; None where there were none."""


def by_mode(*, since: datetime) -> Mapping[Mode, ModeFigures]:
    """Return every mode's figures, in the order of the mode table; a mode without runs has zeros."""
    found = {figures.mode: figures for text, using in ((RUNS, DEFAULT), (ROWS, BATCH)) for figures in _read(text, using, since=since)}
    return {mode: found.get(mode, ModeFigures(mode=mode)) for mode in Mode}


def _read(text: str, using: str, *, since: datetime) -> list[ModeFigures]:
    with connections[using].cursor() as cursor:
        cursor.execute(text, {"since": since})
        return [_figures(row) for row in cursor.fetchall()]


def _figures(row: tuple[Any, ...]) -> ModeFigures:
    mode, runs, completed, failures, first, whole, tokens, cost, rows = row
    first_50, first_95 = first or (None, None)
    whole_50, whole_95 = whole or (None, None)
    return ModeFigures(
        mode=Mode(mode),
        runs=int(runs),
        completed=int(completed),
        failures=int(failures),
        first_delta_ms_p50=first_50,
        first_delta_ms_p95=first_95,
        duration_ms_p50=whole_50,
        duration_ms_p95=whole_95,
        tokens=int(tokens),
        cost_usd=cost,
        rows=int(rows) or None,
    )
