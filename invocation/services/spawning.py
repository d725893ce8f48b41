"""Spawning: a job's children come into being in one transaction, within the limits and the money of their tree, once for each spawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import F

from agents.domain.errors import ChildRefused, FanOutExceeded
from agents.domain.waits import Spawn
from invocation.domain import traces
from invocation.domain.budgets import Wish
from invocation.domain.endpoints import Endpoint, check_size
from invocation.domain.errors import InvocationError, StaleMove
from invocation.domain.jobs import Fence
from invocation.domain.modes import Transport
from invocation.domain.waits import excess
from invocation.gateways import declared, hints, schemas
from invocation.models import Job
from invocation.services import accounts
from invocation.services.submission import Lineage, Submission, check_input, submit
from quota.domain.budgets import Spending
from quota.domain.days import DayLimits
from quota.domain.errors import CanNeverFit


def endpoint_of(spawn: Spawn, *, day: DayLimits) -> Endpoint:
    """Return the endpoint that takes these children. Raises ChildRefused if none does, or if an input does not fit it."""
    try:
        endpoint = declared.book().find_for(spawn.endpoint, Transport.JOB)
        for number, value in enumerate(spawn.inputs):
            _check(endpoint, value, day=day, at=f"/inputs/{number}")
    except (InvocationError, CanNeverFit) as refusal:
        raise ChildRefused(f"{spawn.endpoint} was not spawned. {refusal}") from refusal
    return endpoint


def made_before(fence: Fence, spawn: Spawn) -> list[UUID]:
    """Return the children that an earlier attempt made at this place, in the order of their inputs, or none. Raises StaleMove.

    No lock is needed: an attempt that is not over yet holds the job's row until its children are there to be seen.
    """
    if not Job.objects.filter(pk=fence.job_id, attempt=fence.attempt, owner=fence.owner).exists():
        raise _stale(fence)
    places = _places(spawn)
    found = dict(Job.objects.filter(parent_id=UUID(fence.job_id), child_key__in=places).values_list("child_key", "pk"))
    return [found[place] for place in places] if found else []


def spawn_children(fence: Fence, spawn: Spawn, endpoint: Endpoint, *, cap: Spending, now: datetime) -> list[UUID]:
    """Make the children where none were made before, lend each its cap, and return their ids in the order of their inputs.

    Raises FanOutExceeded or BudgetExceeded, and StaleMove if the attempt no longer holds the job: then nothing is made.
    """
    with transaction.atomic():
        parent, root = _locked(fence)
        _count(parent, root, len(spawn.inputs))
        _lend(parent, cap.times(len(spawn.inputs)))
        children = _submissions(parent, root, spawn, endpoint, cap)
        ids = [submit(child, now=now).job_id for child in children]
    hints.wake(str(endpoint.policy.priority_class), parent.tenant_id)
    return ids


def _check(endpoint: Endpoint, value: Mapping[str, Any], *, day: DayLimits, at: str) -> None:
    schemas.check_storable(value, at)
    check_input(endpoint, value, day=day, at=at)
    check_size(endpoint, len(orjson.dumps(value)))


def _locked(fence: Fence) -> tuple[Job, Job | None]:
    """Lock the job after the root of its tree, as everybody does who locks both. Raises StaleMove."""
    root_id = Job.objects.values_list("root_id", flat=True).get(pk=fence.job_id)
    tree = {fence.job_id, str(root_id or fence.job_id)}
    jobs = {str(job.pk): job for job in Job.objects.select_for_update(of=["self"], no_key=True).filter(pk__in=tree).order_by("depth")}
    parent = jobs[fence.job_id]
    if (parent.attempt, str(parent.owner)) != (fence.attempt, fence.owner):
        raise _stale(fence)
    return parent, jobs.get(str(root_id)) if root_id else parent


def _stale(fence: Fence) -> StaleMove:
    return StaleMove(f"Attempt {fence.attempt} no longer holds job {fence.job_id}.")


def _count(parent: Job, root: Job | None, wanted: int) -> None:
    """Count the children against the limits, on the root's row. Raises FanOutExceeded."""
    if root is None:
        raise FanOutExceeded("The root of this run's tree is gone, so nobody counts its children.")
    siblings = Job.objects.filter(parent=parent).count()
    too_much = excess(depth=parent.depth, siblings=siblings, descendants=root.descendants, wanted=wanted)
    if too_much:
        raise FanOutExceeded(too_much)
    Job.objects.filter(pk=root.pk).update(descendants=F("descendants") + wanted)


def _lend(parent: Job, lent: Spending) -> None:
    """Set the children's caps aside of what the parent may still spend. Raises BudgetExceeded."""
    accounts.must_hold_room(lent, accounts.remaining_of(parent))
    Job.objects.filter(pk=parent.pk).update(
        lent_usd=F("lent_usd") + lent.usd, lent_tokens=F("lent_tokens") + lent.tokens, lent_calls=F("lent_calls") + lent.calls
    )


def _submissions(parent: Job, root: Job | None, spawn: Spawn, endpoint: Endpoint, cap: Spending) -> list[Submission]:
    return [
        Submission(
            tenant_id=parent.tenant_id,
            endpoint=endpoint,
            input=value,
            subject=parent.subject,
            locale=parent.locale,
            wish=Wish(cost_usd=cap.usd, tokens=cap.tokens, model_calls=cap.calls),
            traceparent=traces.taken(parent.traceparent),
            lineage=Lineage(parent_id=parent.pk, root_id=root.pk if root else parent.pk, depth=parent.depth + 1, child_key=place),
        )
        for value, place in zip(spawn.inputs, _places(spawn), strict=True)
    ]


def _places(spawn: Spawn) -> Sequence[str]:
    """Return what each child is known by under its parent: the spawn's place in the run, and which of its inputs."""
    return [f"{spawn.place}/{number}" for number in range(len(spawn.inputs))]
