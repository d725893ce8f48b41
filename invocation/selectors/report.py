"""What each mode did: the figures of the demo's table, from the durable records of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from invocation.domain.modes import Mode

# Jobs, turns and firings have a record an attempt; a batch's rows have one of their own.
BY_MODE = """
WITH run AS (
    SELECT mode, outcome, first_delta_ms + waited_ms AS first_delta_ms, duration_ms, input_tokens + output_tokens AS tokens, cost_usd,
        FALSE AS is_row
    FROM invocation_runrecord WHERE finished_at >= %(since)s
  UNION ALL
    SELECT batch.mode, row.outcome, NULL, row.duration_ms, row.input_tokens + row.output_tokens, row.cost_usd, TRUE
    FROM invocation_batchrow AS row JOIN invocation_batch AS batch ON batch.id = row.batch_id WHERE row.at >= %(since)s
)
SELECT mode, count(*), count(*) FILTER (WHERE outcome = 'completed'), count(*) FILTER (WHERE outcome = 'failed'),
    percentile_disc(0.5) WITHIN GROUP (ORDER BY first_delta_ms), percentile_disc(0.95) WITHIN GROUP (ORDER BY first_delta_ms),
    percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms), percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms),
    sum(tokens), sum(cost_usd), count(*) FILTER (WHERE is_row)
FROM run GROUP BY mode
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
    with connection.cursor() as cursor:
        cursor.execute(BY_MODE, {"since": since})
        found = {Mode(row[0]): _figures(row) for row in cursor.fetchall()}
    return {mode: found.get(mode, ModeFigures(mode=mode)) for mode in Mode}


def _figures(row: tuple[Any, ...]) -> ModeFigures:
    mode, runs, completed, failures, first_50, first_95, whole_50, whole_95, tokens, cost, rows = row
    return ModeFigures(
        mode=Mode(mode),
        runs=runs,
        completed=completed,
        failures=failures,
        first_delta_ms_p50=first_50,
        first_delta_ms_p95=first_95,
        duration_ms_p50=whole_50,
        duration_ms_p95=whole_95,
        tokens=int(tokens),
        cost_usd=cost,
        rows=rows or None,
    )
