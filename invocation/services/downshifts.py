"""Counts calls that were stepped down to a cheaper tier; /metrics tells the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import orjson

from invocation.domain.tiers import Downshift
from invocation.gateways import statements

# In one order, so that no two transactions wait for each other.
COUNT = """
INSERT INTO invocation_downshiftcount AS counted (endpoint, wanted, used, why, count)
SELECT endpoint, wanted, used, why, count
FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (endpoint text, wanted text, used text, why text, count bigint)
ORDER BY endpoint, wanted, used, why
ON CONFLICT (endpoint, wanted, used, why) DO UPDATE SET count = counted.count + excluded.count
"""


def count(seen: Sequence[tuple[str, Downshift]]) -> None:
    """Add each endpoint's downshifts. Joins the caller's transaction."""
    if seen:
        counts = Counter((endpoint, each.wanted, each.used, each.why) for endpoint, each in seen)
        rows = [{"endpoint": key[0], "wanted": key[1], "used": key[2], "why": key[3], "count": many} for key, many in counts.items()]
        statements.rows(COUNT, {"rows": orjson.dumps(rows).decode()})
