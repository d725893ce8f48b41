"""Children: jobs that a job spawned. What a child may spend is lent by its parent; the end of the last one awaited wakes it.

Whoever ends a job locks the jobs above it first, as a cancellation does on its way down: so two
last children cannot both miss that the other has ended, and none waits for the other for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from invocation.domain.jobs import TERMINAL, JobState, Move
from invocation.domain.waits import WaitReason
from invocation.gateways import hints, statements
from invocation.models import Job
from invocation.services import lifecycle
from invocation.services.lifecycle import Moved

ENDED = sorted(str(state) for state in TERMINAL)

# What a child of an ended job still has to give back goes to the first one above that has not ended, and to all between.
LOCK_ABOVE = """
WITH RECURSIVE above (id) AS (
    SELECT parent_id FROM invocation_job WHERE id = ANY(%(ids)s::uuid[]) AND parent_id IS NOT NULL
    UNION
    SELECT job.parent_id FROM above JOIN invocation_job AS job USING (id)
    WHERE job.state = ANY(%(ended)s) AND job.parent_id IS NOT NULL
)
SELECT job.id FROM invocation_job AS job WHERE job.id IN (SELECT id FROM above) ORDER BY job.depth, job.id FOR NO KEY UPDATE
"""

GIVE_BACK = """
WITH RECURSIVE share (id, freed, spent) AS (
    SELECT child.parent_id, given.freed, given.spent
    FROM unnest(%(ids)s::uuid[], %(freed)s::numeric[], %(spent)s::numeric[]) AS given (id, freed, spent)
    JOIN invocation_job AS child USING (id)
    WHERE child.parent_id IS NOT NULL
    UNION ALL
    SELECT job.parent_id, share.freed, share.spent FROM share JOIN invocation_job AS job USING (id)
    WHERE job.state = ANY(%(ended)s) AND job.parent_id IS NOT NULL
),
total AS (SELECT id, sum(freed) AS freed, sum(spent) AS spent FROM share GROUP BY id)
UPDATE invocation_job AS job SET lent_usd = job.lent_usd - total.freed, spent_usd = job.spent_usd + total.spent
FROM total WHERE job.id = total.id
"""

# A child whose row is gone has ended, too.
JOINED = """
SELECT parent.id FROM invocation_job AS parent
WHERE parent.id = ANY(%(ids)s::uuid[]) AND parent.state = %(waiting)s AND parent.reason = %(reason)s
  AND NOT EXISTS (
    SELECT FROM jsonb_array_elements_text(parent.awaiting -> 'children') AS awaited (id)
    JOIN invocation_job AS child ON child.id = awaited.id::uuid
    WHERE NOT child.state = ANY(%(ended)s))
"""

JOINING = """
SELECT id FROM invocation_job WHERE state = 'waiting' AND reason = 'children' AND id > %(after)s ORDER BY id LIMIT %(most)s
"""
START = UUID(int=0)

# What a completed job left running belongs to whoever is above it; a tree's lifetime limit bounds the walk.
OPEN_BELOW = """
WITH RECURSIVE below (id, state) AS (
    SELECT id, state FROM invocation_job WHERE parent_id = ANY(%(ids)s::uuid[])
    UNION
    SELECT job.id, job.state FROM below JOIN invocation_job AS job ON job.parent_id = below.id WHERE below.state = ANY(%(ended)s)
)
SELECT id FROM below WHERE NOT state = ANY(%(ended)s) ORDER BY id
"""


def open_children(parent_ids: Sequence[UUID]) -> list[UUID]:
    """Return the children of these jobs that have not ended, and those of children that have, all the way down."""
    return [row[0] for row in statements.rows(OPEN_BELOW, {"ids": list(parent_ids), "ended": ENDED})]


def lock_above(job_ids: Sequence[UUID]) -> None:
    """Lock the jobs that the end of these will change, the root first. Joins the caller's transaction."""
    if job_ids:
        statements.rows(LOCK_ABOVE, {"ids": list(job_ids), "ended": ENDED})


def tell_parents(ended: Sequence[Moved], *, now: datetime) -> None:
    """Give back what the ended children were lent, and wake the parents whose awaited children have all ended.

    Joins the caller's transaction, which has locked the jobs above.
    """
    parents = sorted({job.parent_id for job in ended if job.parent_id is not None})
    if not parents:
        return
    lent = Job.objects.filter(id__in=[job.id for job in ended if job.parent_id]).values_list("id", "cost_cap_usd", "lent_usd", "spent_usd")
    _pass_up([(job_id, cap - on, spent) for job_id, cap, on, spent in lent])
    for woken in wake_joined(parents, now=now):
        transaction.on_commit(lambda woken=woken: hints.wake(woken.priority_class, woken.tenant_id))  # type: ignore[misc]  # bound now, not later


def pass_up_late(job_id: UUID, spent_usd: Decimal) -> None:
    """Charge an ended child's last calls to the jobs above it, too. Joins the caller's transaction."""
    _pass_up([(job_id, Decimal(0), spent_usd)])


def _pass_up(shares: Sequence[tuple[UUID, Decimal, Decimal]]) -> None:
    ids, freed, spent = zip(*shares, strict=True)
    statements.rows(GIVE_BACK, {"ids": list(ids), "freed": list(freed), "spent": list(spent), "ended": ENDED})


def wake_joined(parent_ids: Sequence[UUID], *, now: datetime) -> list[Moved]:
    """Queue those of these jobs again whose awaited children have all ended."""
    given = {"ids": list(parent_ids), "waiting": str(JobState.WAITING), "reason": str(WaitReason.CHILDREN), "ended": ENDED}
    joined = [lifecycle.of(row[0]) for row in statements.rows(JOINED, given)]
    return lifecycle.take(Move.WAKE, joined, now=now, right=f"job.reason = '{WaitReason.CHILDREN}'")


class ForgottenParents:
    """Looks at the parents that wait for children, `most` at a time: on from where it was, and after the last from the first."""

    def __init__(self, *, most: int = 200) -> None:
        self._most = most
        self._after = START

    def wake(self, *, now: datetime) -> int:
        """Wake those whose children have all ended; the children do that themselves, this is for what nobody foresaw."""
        joining = [row[0] for row in statements.rows(JOINING, {"after": self._after, "most": self._most})]
        self._after = joining[-1] if len(joining) == self._most else START
        return len(wake_joined(joining, now=now)) if joining else 0


wake_forgotten = ForgottenParents().wake
"""This process's own walk."""
