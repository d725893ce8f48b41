"""Admission: late, as far as live slots allow, and fair between tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from invocation.domain.jobs import Move
from invocation.domain.rounds import Room, shares
from invocation.models.admission import HoldScope
from invocation.selectors import admission as seen
from invocation.services import lifecycle
from quota.domain.callers import PlanTerms
from quota.domain.classes import PriorityClass

DISPATCHED_CLASSES = (PriorityClass.P1, PriorityClass.P2)
TENANTS_A_ROUND = 64
FIRST_TENANT = UUID(int=0)

# The oldest jobs of each tenant, as many as its share; the first of each before the second of any.
PICK = """
SELECT picked.id, picked.attempt FROM unnest(%(tenants)s::uuid[], %(shares)s::int[]) AS share (tenant_id, most)
CROSS JOIN LATERAL (
    SELECT job.id, job.attempt, row_number() OVER (ORDER BY job.id) AS place FROM invocation_job AS job
    WHERE job.state = 'queued' AND job.priority_class = %(class)s AND job.tenant_id = share.tenant_id
      AND NOT job.endpoint = ANY(%(endpoints)s) AND NOT job.agent = ANY(%(agents)s)
      AND (job.ordering_key IS NULL OR NOT EXISTS (
        SELECT FROM invocation_job AS ahead
        WHERE ahead.tenant_id = job.tenant_id AND ahead.ordering_key = job.ordering_key AND ahead.id < job.id
          AND ahead.state NOT IN ('completed', 'failed', 'cancelled')))
    ORDER BY job.id LIMIT share.most
) AS picked
ORDER BY picked.place, share.tenant_id LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Admitted:
    """One class's jobs that may run now, and the tenant at which the ring goes on."""

    priority_class: PriorityClass
    claims: list[tuple[UUID, int]]
    cursor: UUID


def admit(priority_class: PriorityClass, *, terms: Mapping[UUID, PlanTerms], after: UUID, free: int, now: datetime) -> Admitted:
    """Admit up to `free` jobs of a class, round-robin over tenants from behind `after`.

    The ring moves on only past tenants that were looked at, never because slots ran out,
    so that nobody is passed over for ever.
    """
    tenants = _ring(priority_class, after=after)
    in_flight = seen.in_flight(priority_class)
    held_tenants = set(seen.held(HoldScope.TENANT))
    rooms = [
        _room(tenant, priority_class, terms[tenant], in_flight[tenant])
        for tenant in tenants
        if tenant in terms and str(tenant) not in held_tenants
    ]
    given = shares(rooms, free=free)
    claims = _take(priority_class, given, free=free, now=now) if given else []
    return Admitted(priority_class, claims, tenants[-1] if tenants else FIRST_TENANT)


def free_slots(priority_class: PriorityClass, *, slots: int) -> int:
    """Return how many jobs more the class's live workers can take; none while the class is held."""
    if priority_class in seen.held(HoldScope.CLASS):
        return 0
    return max(0, slots - sum(seen.in_flight(priority_class).values()))


def _ring(priority_class: PriorityClass, *, after: UUID) -> list[UUID]:
    found = seen.waiting_tenants(priority_class, after=after, most=TENANTS_A_ROUND)
    if len(found) < TENANTS_A_ROUND and after != FIRST_TENANT:
        again = seen.waiting_tenants(priority_class, after=FIRST_TENANT, most=TENANTS_A_ROUND - len(found))
        found += [tenant for tenant in again if tenant not in found]
    return found


def _room(tenant: UUID, priority_class: PriorityClass, terms: PlanTerms, in_flight: int) -> Room:
    cap = terms.in_flight[priority_class]
    return Room(tenant, terms.weight, None if cap is None else max(0, cap - in_flight))


@transaction.atomic
def _take(priority_class: PriorityClass, given: dict[UUID, int], *, free: int, now: datetime) -> list[tuple[UUID, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            PICK,
            {
                "tenants": list(given),
                "shares": list(given.values()),
                "class": priority_class,
                "endpoints": seen.held(HoldScope.ENDPOINT),
                "agents": seen.held(HoldScope.AGENT),
                "most": free,
            },
        )
        picked: list[tuple[UUID, int]] = cursor.fetchall()
    moved = lifecycle.move(
        Move.ADMIT,
        [lifecycle.of(job_id, attempt=attempt) for job_id, attempt in picked],
        now=now,
        right=lifecycle.SAME_ATTEMPT,
    )
    return [(job_id, attempt) for job_id, attempt in picked if job_id in moved]
