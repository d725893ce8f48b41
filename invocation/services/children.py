"""Children: jobs that a job spawned. What a child may spend is lent by its parent; the end of the last one awaited wakes it.

Whoever ends a job locks the jobs above it first, as a cancellation does on its way down: so two
last children cannot both miss that the other has ended, and none waits for the other for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from invocation.domain.jobs import TERMINAL, JobState, Move
from invocation.domain.waits import WaitReason
from invocation.gateways import hints, statements
from invocation.models import Job
from invocation.services import lifecycle
from invocation.services.lifecycle import Moved
from quota.domain.budgets import Spending

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
WITH RECURSIVE share (id, freed_usd, freed_tokens, freed_calls, usd, tokens, calls) AS (
    SELECT child.parent_id, given.freed_usd, given.freed_tokens, given.freed_calls, given.usd, given.tokens, given.calls
    FROM unnest(%(ids)s::uuid[], %(freed_usd)s::numeric[], %(freed_tokens)s::bigint[], %(freed_calls)s::bigint[],
                %(usd)s::numeric[], %(tokens)s::bigint[], %(calls)s::bigint[])
        AS given (id, freed_usd, freed_tokens, freed_calls, usd, tokens, calls)
    JOIN invocation_job AS child USING (id)
    WHERE child.parent_id IS NOT NULL
    UNION ALL
    SELECT job.parent_id, share.freed_usd, share.freed_tokens, share.freed_calls, share.usd, share.tokens, share.calls
    FROM share JOIN invocation_job AS job USING (id)
    WHERE job.state = ANY(%(ended)s) AND job.parent_id IS NOT NULL
),
total AS (
    SELECT id, sum(freed_usd) AS freed_usd, sum(freed_tokens) AS freed_tokens, sum(freed_calls) AS freed_calls,
        sum(usd) AS usd, sum(tokens) AS tokens, sum(calls) AS calls
    FROM share GROUP BY id
)
UPDATE invocation_job AS job SET
    lent_usd = job.lent_usd - total.freed_usd, spent_usd = job.spent_usd + total.usd,
    lent_tokens = job.lent_tokens - total.freed_tokens, spent_tokens = job.spent_tokens + total.tokens,
    lent_calls = job.lent_calls - total.freed_calls, spent_calls = job.spent_calls + total.calls
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
    found = Job.objects.filter(id__in=[job.id for job in ended if job.parent_id])
    _pass_up([(job.pk, _cap(job) - _lent(job) - _held(job), _spent(job)) for job in found.only(*PURSE)])
    for woken in wake_joined(parents, now=now):
        transaction.on_commit(lambda woken=woken: hints.wake(woken.priority_class, woken.tenant_id))  # type: ignore[misc]  # bound now, not later


def pass_up_late(job_id: UUID, *, held: Spending, spent: Spending) -> None:
    """Charge an ended child's last calls to the jobs above it, too, in place of what was held for them. Joins the caller's transaction."""
    _pass_up([(job_id, held, spent)])


PURSE = (
    *("cost_cap_usd", "token_cap", "call_cap"),
    *("lent_usd", "lent_tokens", "lent_calls"),
    *("spent_usd", "spent_tokens", "spent_calls"),
    *("held_usd", "held_tokens", "held_calls"),
)


def _cap(job: Job) -> Spending:
    return Spending(job.cost_cap_usd, job.token_cap, job.call_cap)


def _lent(job: Job) -> Spending:
    return Spending(job.lent_usd, job.lent_tokens, job.lent_calls)


def _held(job: Job) -> Spending:
    """What was held for calls that a lost attempt may have made stays lent above: nobody knows what they cost."""
    return Spending(job.held_usd, job.held_tokens, job.held_calls)


def _spent(job: Job) -> Spending:
    return Spending(job.spent_usd, job.spent_tokens, job.spent_calls)


def _pass_up(shares: Sequence[tuple[UUID, Spending, Spending]]) -> None:
    ids, freed, spent = zip(*shares, strict=True)
    given = {f"freed_{name}": values for name, values in _columns(freed).items()} | _columns(spent)
    statements.rows(GIVE_BACK, {"ids": list(ids), **given, "ended": ENDED})


def _columns(amounts: Sequence[Spending]) -> dict[str, list[Any]]:
    return {name: [getattr(amount, name) for amount in amounts] for name in ("usd", "tokens", "calls")}


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
