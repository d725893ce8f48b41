"""What follows the end of jobs, in the transaction of the end: firings, lanes, children, parents, contexts, webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction

from invocation.domain.jobs import JobState, Move
from invocation.gateways import hints, statements
from invocation.gateways.presence import say_stop
from invocation.services import children, contexts, firings, lanes, lifecycle, webhooks
from invocation.services.lifecycle import ANYONE, Given, Moved
from quota.domain.classes import PriorityClass

PARENT_ENDED = "parent_ended"
DISPATCHED_CLASSES = (PriorityClass.P1, PriorityClass.P2)

# Neither column ever changes, so that nothing is missed.
AROUND = """
SELECT id, tenant_id, ordering_key, parent_id FROM invocation_job
WHERE id = ANY(%(ids)s::uuid[]) AND (ordering_key IS NOT NULL OR parent_id IS NOT NULL)
"""

# Held still, or a claim could pass between asking who works and ending who does not, and hear of neither.
THEMSELVES = "SELECT id FROM invocation_job WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE"


def end(kind: Move, given: Sequence[Given], *, now: datetime, right: str = ANYONE, bound: Sequence[UUID] | None = None) -> list[Moved]:
    """Take a terminal edge for a group of jobs and do all that follows; return those that ended. Joins the caller's transaction.

    `bound` are those that are in a lane or have a parent, where the caller knows them: neither ever changes.
    """
    lock_around([each.job_id for each in given] if bound is None else bound)
    return _end(kind, given, now=now, right=right)


def _end(kind: Move, given: Sequence[Given], *, now: datetime, right: str = ANYONE) -> list[Moved]:
    ended = lifecycle.take(kind, given, now=now, right=right)
    if ended:
        firings.follow_all(ended, now=now)
        lanes.promote(ended)
        children.tell_parents(ended, now=now)
        contexts.settle(ended, now=now)
        webhooks.tell(ended, now=now)
        _stop_children([job.id for job in ended if job.state != JobState.COMPLETED], now=now)
        _hint(ended)
    return ended


def _hint(ended: Sequence[Moved]) -> None:
    """Once this is committed the next of a lane, or a parent, may run: of its class and tenant, as far as is known here."""
    for tenant_id, own in {(job.tenant_id, job.priority_class) for job in ended if job.ordering_key or job.parent_id}:
        for priority_class in {own, *DISPATCHED_CLASSES}:
            transaction.on_commit(partial(hints.wake, priority_class, tenant_id))


def end_one(kind: Move, given: Given, *, now: datetime, right: str = ANYONE) -> None:
    """Take a terminal edge for one job. Raises StaleMove and changes nothing if it is not where it should be."""
    if not end(kind, [given], now=now, right=right):
        raise lifecycle.stale(kind, given)


def lock_around(job_ids: Sequence[UUID]) -> None:
    """Lock what the end of these jobs changes beside them: their lanes, then the jobs above them. Joins the caller's transaction.

    Everybody takes lanes, the jobs above and the jobs themselves in this order, so that none waits for another for ever:
    who moves jobs in the transaction in which others end calls this first, for all of them. A child is in no
    lane, so what goes down to the children takes no lane late.
    """
    found = statements.rows(AROUND, {"ids": list(job_ids)}) if job_ids else []
    lanes.lock((tenant_id, key) for _, tenant_id, key, _ in found if key is not None)
    children.lock_above([job_id for job_id, _, _, parent_id in found if parent_id is not None])


def stop(job_ids: Sequence[UUID], *, reason: str, now: datetime) -> set[UUID]:
    """Cancel jobs that no worker holds, ask the workers of the others to stop, and the same with all their children.

    Return those that this reached; what has ended, or is cancelling already, is not among them.
    Joins the caller's transaction; the workers hear of it when that commits.
    """
    lock_around(job_ids)
    statements.rows(THEMSELVES, {"ids": list(job_ids)})
    given = [lifecycle.of(job_id, reason=reason) for job_id in job_ids]
    asked = lifecycle.move(Move.REQUEST_CANCEL, given, now=now)
    for job_id in asked:
        say_stop(job_id)
    _stop_children(list(asked), now=now)
    return asked | {job.id for job in _end(Move.CANCEL, given, now=now)}


def _stop_children(parent_ids: Sequence[UUID], *, now: datetime) -> None:
    """Nobody waits for the children of a job that failed or was cancelled."""
    orphans = children.open_children(parent_ids) if parent_ids else []
    if orphans:
        stop(orphans, reason=PARENT_ENDED, now=now)
