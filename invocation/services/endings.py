"""What follows the end of jobs, in the transaction of the end: firings, lanes, children, parents, contexts, webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from invocation.domain.jobs import JobState, Move
from invocation.gateways.presence import say_stop
from invocation.services import children, contexts, firings, lanes, lifecycle, webhooks
from invocation.services.lifecycle import ANYONE, Given, Moved

PARENT_ENDED = "parent_ended"


def end(kind: Move, given: Sequence[Given], *, now: datetime, right: str = ANYONE) -> list[Moved]:
    """Take a terminal edge for a group of jobs and do all that follows; return those that ended. Joins the caller's transaction."""
    children.lock_above([each.job_id for each in given])
    ended = lifecycle.take(kind, given, now=now, right=right)
    if ended:
        firings.follow_all(ended, now=now)
        lanes.promote(ended)
        children.tell_parents(ended, now=now)
        contexts.settle(ended, now=now)
        webhooks.tell(ended, now=now)
        _stop_children([job.id for job in ended if job.state != JobState.COMPLETED], now=now)
    return ended


def end_one(kind: Move, given: Given, *, now: datetime, right: str = ANYONE) -> None:
    """Take a terminal edge for one job. Raises StaleMove and changes nothing if it is not where it should be."""
    if not end(kind, [given], now=now, right=right):
        raise lifecycle.stale(kind, given)


def stop(job_ids: Sequence[UUID], *, reason: str, now: datetime) -> set[UUID]:
    """Cancel jobs that no worker holds, ask the workers of the others to stop, and the same with all their children.

    Return those that this reached; what has ended, or is cancelling already, is not among them.
    Joins the caller's transaction; the workers hear of it when that commits.
    """
    children.lock_above(job_ids)
    given = [lifecycle.of(job_id, reason=reason) for job_id in job_ids]
    asked = lifecycle.move(Move.REQUEST_CANCEL, given, now=now)
    for job_id in asked:
        say_stop(job_id)
    _stop_children(list(asked), now=now)
    return asked | {job.id for job in end(Move.CANCEL, given, now=now)}


def _stop_children(parent_ids: Sequence[UUID], *, now: datetime) -> None:
    """Nobody waits for the children of a job that failed or was cancelled."""
    orphans = children.open_children(parent_ids) if parent_ids else []
    if orphans:
        stop(orphans, reason=PARENT_ENDED, now=now)
