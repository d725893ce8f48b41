"""Searching a queue past what is held, a stretch a round: however many held jobs lie in front, whatever lies behind them is reached.

A round looks at the queue's front, for what has just become ready, and at one stretch behind where the last round
ended; at the queue's end the search begins anew. So its cost is bounded, and nothing is hidden for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from invocation.gateways import statements

FRONT, STRETCH = 1_000, 9_000
"""Jobs of one tenant that a round looks at while an endpoint or agent is held; without a hold, at its front alone past what has expired."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A job's place in its tenant's queue: the search goes on behind it."""

    rank: int
    id: UUID


BEGINNING = Spot(-1, UUID(int=0))
Spots = Mapping[UUID, Spot]

READY = """
    SELECT ready.id, ready.attempt, ready.is_alone, ready.endpoint, ready.agent, ready.rank, ready.expires_at FROM invocation_job AS ready
    WHERE ready.state = 'queued' AND NOT ready.is_behind
      AND ready.priority_class = %(class)s AND ready.tenant_id = share.tenant_id
"""
BEHIND = "AND (ready.rank, ready.id) > (share.spot_rank, share.spot_id)"
IN_ORDER = "ORDER BY ready.rank, ready.id"

# As admission picks, of what is neither held nor expired; a job that both stretches hold is one.
PICK = f"""
SELECT picked.id, picked.attempt, share.tenant_id, picked.is_alone
FROM unnest(%(tenants)s::uuid[], %(shares)s::int[], %(weights)s::int[], %(had)s::int[], %(spot_ranks)s::int[], %(spot_ids)s::uuid[])
    WITH ORDINALITY AS share (tenant_id, most, weight, had, spot_rank, spot_id, seat)
CROSS JOIN LATERAL (
    SELECT job.id, job.attempt, job.is_alone, row_number() OVER (ORDER BY job.rank, job.id) AS place FROM (
        ({READY} {IN_ORDER} LIMIT share.most + %(front)s) UNION ({READY} {BEHIND} {IN_ORDER} LIMIT %(stretch)s)
    ) AS job
    WHERE NOT job.endpoint = ANY(%(endpoints)s::text[]) AND NOT job.agent = ANY(%(agents)s::text[])
      AND (job.expires_at IS NULL OR job.expires_at > %(now)s::timestamptz)
    ORDER BY job.rank, job.id LIMIT share.most
) AS picked
ORDER BY (share.had + picked.place - 1) / share.weight, share.seat, picked.place LIMIT %(most)s
"""  # noqa: S608

LAST = f"""
SELECT share.tenant_id, last.rank, last.id
FROM unnest(%(tenants)s::uuid[], %(spot_ranks)s::int[], %(spot_ids)s::uuid[]) AS share (tenant_id, spot_rank, spot_id)
CROSS JOIN LATERAL ({READY} {BEHIND} {IN_ORDER} OFFSET %(stretch)s - 1 LIMIT 1) AS last
"""  # noqa: S608


def given(tenants: Sequence[UUID], spots: Spots, priority_class: str) -> dict[str, object]:
    """Return the parameters that both statements share."""
    found = [spots.get(tenant, BEGINNING) for tenant in tenants]
    return {
        "tenants": list(tenants),
        "class": priority_class,
        "spot_ranks": [spot.rank for spot in found],
        "spot_ids": [spot.id for spot in found],
        "stretch": STRETCH,
    }


def went_on(tenants: Sequence[UUID], spots: Spots, priority_class: str) -> dict[UUID, Spot]:
    """Return where the search of each of these queues goes on, if it has not come to its end: then it begins anew.

    To be asked before what was found is admitted: else as many jobs as were would be passed over.
    """
    rows = statements.rows(LAST, given(tenants, spots, priority_class)) if tenants else []
    return {tenant: Spot(rank, job_id) for tenant, rank, job_id in rows}
