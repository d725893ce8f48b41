"""Which rows of a batch failed last, however many have."""

from __future__ import annotations

from collections.abc import Sequence

from invocation.models import Batch, BatchRow

# As many steps into an index for each code, whatever the number of failed rows.
NEWEST = """
SELECT newest.* FROM unnest(%(codes)s::text[]) AS one (code) CROSS JOIN LATERAL (
    SELECT * FROM invocation_batchrow
    WHERE batch_id = %(batch)s AND error_code = one.code AND error_code <> ''
    ORDER BY id DESC LIMIT %(most)s) AS newest
ORDER BY newest.id DESC LIMIT %(most)s
"""


def newest(batch: Batch, *, most: int) -> Sequence[BatchRow]:
    """Return the newest failed rows, by the codes that its shards have counted."""
    codes = {code for counts in batch.shards.values_list("errors", flat=True) for code in counts}
    return list(BatchRow.objects.raw(NEWEST, {"codes": sorted(codes), "batch": batch.pk, "most": most}))
