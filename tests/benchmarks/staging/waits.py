"""How long jobs waited, read off their rows, and what is told of many waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from tests.benchmarks.figure import Row
from tests.benchmarks.staging.rounds import Tenants
from tests.benchmarks.staging.stage import Stage

STARTED = """
SELECT extract(epoch FROM started_at - created_at)::float8 * 1000 FROM invocation_job
WHERE created_at >= to_timestamp(%(began)s) AND tenant_id = ANY(%(owners)s::uuid[]) AND started_at IS NOT NULL
"""
# A step later than the claim: the agent's own clock as its code is entered, as bare Celery's task tells it.
ENTERED = """
SELECT ((result.output->>'began')::float8 - extract(epoch FROM job.created_at)::float8) * 1000
FROM invocation_job AS job JOIN invocation_result AS result ON result.job_id = job.id
WHERE job.created_at >= to_timestamp(%(began)s) AND job.tenant_id = ANY(%(owners)s::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Waits:
    """Many waits, in milliseconds."""

    each: Sequence[float]

    def at(self, share: float) -> float:
        """Return what this share of the waits did not exceed (nearest rank). Raises IndexError when there are none."""
        return sorted(self.each)[max(0, ceil(share * len(self.each)) - 1)]

    def rows(self, what: str, shares: Sequence[float] = (0.5, 0.95, 0.99)) -> list[Row]:
        return [Row(what=f"{what}, p{share * 100:g}", value=self.at(share), unit="ms") for share in shares]

    def __add__(self, other: Waits) -> Waits:
        return Waits([*self.each, *other.each])


NONE = Waits(())


def started(stage: Stage, owners: Tenants, *, began: float) -> Waits:
    """Return how long jobs took from their submission to the claim."""
    return Waits([row[0] for row in stage.rows(STARTED, began=began, owners=list(owners.ids))])


def entered(stage: Stage, owners: Tenants, *, began: float) -> Waits:
    """Return how long jobs took from their submission to the first line of their agent."""
    return Waits([row[0] for row in stage.rows(ENTERED, began=began, owners=list(owners.ids))])


def of_seconds(found: Sequence[float]) -> Waits:
    return Waits([each * 1000 for each in found])
