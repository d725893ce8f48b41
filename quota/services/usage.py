"""Sums the ledger by day, forward from where the last sum ended, each line once."""

from __future__ import annotations

import time
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from quota.gateways.ledgers import LEDGERS, Ledger
from quota.models.ledger import Mark

STEP = 50_000
MOST_STEPS = 40
PATIENCE_S = 2.0
LOOK_EVERY_S = 0.02

LAST_ID = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM LINES_id_seq"

# An INSERT holds this lock from before it takes a line's id until its transaction ends.
WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE relation = 'LINES'::regclass AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

SUM = """
INSERT INTO DAYS AS known (
    tenant_id, day, endpoint, mode, priority_class, provider, model,
    calls, input_tokens, output_tokens, cached_tokens, cost_usd, estimated_calls, estimated_tokens, estimated_usd)
SELECT tenant_id, (at AT TIME ZONE 'UTC')::date, endpoint, mode, priority_class, provider, model,
    count(*), sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(cost_usd), count(*) FILTER (WHERE estimated),
    coalesce(sum(input_tokens + output_tokens) FILTER (WHERE estimated), 0), coalesce(sum(cost_usd) FILTER (WHERE estimated), 0)
FROM LINES WHERE id > %(after)s AND id <= %(upto)s
GROUP BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT (tenant_id, day, endpoint, mode, priority_class, provider, model) DO UPDATE SET
    calls = known.calls + excluded.calls,
    input_tokens = known.input_tokens + excluded.input_tokens,
    output_tokens = known.output_tokens + excluded.output_tokens,
    cached_tokens = known.cached_tokens + excluded.cached_tokens,
    cost_usd = known.cost_usd + excluded.cost_usd,
    estimated_calls = known.estimated_calls + excluded.estimated_calls,
    estimated_tokens = known.estimated_tokens + excluded.estimated_tokens,
    estimated_usd = known.estimated_usd + excluded.estimated_usd
"""


def sweep(*, now: datetime) -> int:
    """Take the lines that are settled into the sums of their ledger; return how many ids the marks moved.

    Ids commit out of order, so the mark moves only up to an id below which nothing can appear any
    more. Two sweeps at once take turns at the mark's row; a crash leaves mark and sums as they were.
    """
    return sum(_sweep(ledger, now=now) for ledger in LEDGERS)


def _sweep(ledger: Ledger, *, now: datetime) -> int:
    settled = _settled(ledger)
    moved = 0
    for _ in range(MOST_STEPS if settled is not None else 0):
        step = _step(ledger, settled or 0, now=now)
        moved += step
        if step < STEP:
            break
    return moved


def _settled(ledger: Ledger) -> int | None:
    """Return an id up to which every line is committed or never will be; None if some writer takes long.

    First the highest id that was given out, then those who may still hold one up to it: when they
    have ended, whatever they wrote can be seen. New writers get higher ids.
    """
    with ledger.connection.cursor() as cursor:
        cursor.execute(ledger.sql(LAST_ID))
        last: int = cursor.fetchone()[0]
        awaited = _writers(ledger)
        deadline = time.monotonic() + PATIENCE_S
        while awaited and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            awaited &= _writers(ledger)
    return None if awaited else last


def _writers(ledger: Ledger) -> set[str]:
    with ledger.connection.cursor() as cursor:
        cursor.execute(ledger.sql(WRITERS))
        return {row[0] for row in cursor.fetchall()}


def _step(ledger: Ledger, settled: int, *, now: datetime) -> int:
    """Sum one stretch and move the mark, in one transaction; return how far it moved."""
    with transaction.atomic(using=ledger.database):
        marks: QuerySet[Mark] = QuerySet(ledger.marks)
        marks.get_or_create(pk=1)
        mark = marks.select_for_update(no_key=True).get(pk=1)
        upto = min(settled, mark.ledger_id + STEP)
        if upto <= mark.ledger_id:
            return 0
        with ledger.connection.cursor() as cursor:
            cursor.execute(ledger.sql(SUM), {"after": mark.ledger_id, "upto": upto})
        moved = upto - mark.ledger_id
        mark.ledger_id, mark.moved_at = upto, now
        mark.save()
    return moved
