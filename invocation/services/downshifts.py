"""Counts calls that were stepped down to a cheaper tier; /metrics tells the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import orjson

from invocation.domain.tiers import Downshift
from invocation.gateways import statements
from invocation.gateways.database import BATCH, DEFAULT

# In one order, so that no two transactions wait for each other.
COUNT = """
INSERT INTO {table} AS counted (endpoint, wanted, used, why, count)
SELECT endpoint, wanted, used, why, count
FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (endpoint text, wanted text, used text, why text, count bigint)
ORDER BY endpoint, wanted, used, why
ON CONFLICT (endpoint, wanted, used, why) DO UPDATE SET count = counted.count + excluded.count
"""


def count(seen: Sequence[tuple[str, Downshift]]) -> None:
    """Add each endpoint's downshifts. Joins the caller's transaction."""
    _count(seen, COUNT.format(table="invocation_downshiftcount"), using=DEFAULT)


def count_rows(seen: Sequence[tuple[str, Downshift]]) -> None:
    """Add those of a batch's rows. Joins the caller's transaction, which is one of the batches' database."""
    _count(seen, COUNT.format(table="invocation_batchdownshiftcount"), using=BATCH)


def _count(seen: Sequence[tuple[str, Downshift]], statement: str, *, using: str) -> None:
    if seen:
        counts = Counter((endpoint, each.wanted, each.used, each.why) for endpoint, each in seen)
        rows = [{"endpoint": key[0], "wanted": key[1], "used": key[2], "why": key[3], "count": many} for key, many in counts.items()]
        statements.rows(statement, {"rows": orjson.dumps(rows).decode()}, using=using)
