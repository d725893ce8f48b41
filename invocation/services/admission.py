"""Admission: late, as far as live slots allow, and fair between tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from invocation.domain.jobs import Move
from invocation.domain.rounds import START, Place, Room, shares
from invocation.models.admission import HoldScope
from invocation.selectors import admission as seen
from invocation.services import lifecycle
from quota.domain.callers import PlanTerms
from quota.domain.classes import PriorityClass

DISPATCHED_CLASSES = (PriorityClass.P1, PriorityClass.P2)
TENANTS_A_ROUND = 64

# The oldest jobs of each tenant, as many as its share; in ring order, as many of each as its weight, before it is anybody's second turn.
PICK = """
SELECT picked.id, picked.attempt, share.tenant_id
FROM unnest(%(tenants)s::uuid[], %(shares)s::int[], %(weights)s::int[], %(had)s::int[]) WITH ORDINALITY
    AS share (tenant_id, most, weight, had, seat)
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
ORDER BY (share.had + picked.place - 1) / share.weight, share.seat, picked.place LIMIT %(most)s
"""


Picked = tuple[UUID, int, UUID]
"""A job, its attempt, and whose it is."""


@dataclass(frozen=True, slots=True)
class _Seat:
    """A tenant's place in this round: the most that it may be given, its weight, and what it had of that before."""

    tenant: UUID
    most: int
    weight: int
    had: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """One class's jobs that may run now, and where the ring goes on."""

    priority_class: PriorityClass
    claims: list[tuple[UUID, int]]
    place: Place


def admit(priority_class: PriorityClass, *, terms: Mapping[UUID, PlanTerms], place: Place, free: int, now: datetime) -> Admitted:
    """Admit up to `free` jobs of a class, round-robin over tenants from where the last round ended, each up to its weight.

    Where slots ran out the ring goes on with whoever was next; so nobody is passed over
    for ever, and one slot at a time is shared as fairly as a hundred.
    """
    tenants = _ring(priority_class, after=place.behind)
    in_flight = seen.in_flight(priority_class)
    held_tenants = set(seen.held(HoldScope.TENANT))
    rooms = [
        _room(tenant, priority_class, terms[tenant], in_flight[tenant])
        for tenant in tenants
        if tenant in terms and str(tenant) not in held_tenants
    ]
    given = shares(rooms, free=free)
    seats = [_Seat(tenant, most, terms[tenant].weight, place.had if tenant == place.tenant else 0) for tenant, most in given.items()]
    picked = _take(priority_class, seats, free=free, now=now) if seats else []
    claims = [(job_id, attempt) for job_id, attempt, _ in picked]
    went_round = Place(tenants[-1]) if tenants else START
    return Admitted(priority_class, claims, went_round if len(picked) < free else _stopped(picked, seats))


def free_slots(priority_class: PriorityClass, *, slots: int) -> int:
    """Return how many jobs more the class's live workers can take; none while the class is held."""
    if priority_class in seen.held(HoldScope.CLASS):
        return 0
    return max(0, slots - sum(seen.in_flight(priority_class).values()))


def _ring(priority_class: PriorityClass, *, after: UUID) -> list[UUID]:
    found = seen.waiting_tenants(priority_class, after=after, most=TENANTS_A_ROUND)
    if len(found) < TENANTS_A_ROUND and after != START.tenant:
        again = seen.waiting_tenants(priority_class, after=START.tenant, most=TENANTS_A_ROUND - len(found))
        found += [tenant for tenant in again if tenant not in found]
    return found


def _stopped(picked: list[Picked], seats: list[_Seat]) -> Place:
    """Return where slots ran out: at the last tenant served, with what it has had of its weight."""
    last = picked[-1][2]
    seat = next(seat for seat in seats if seat.tenant == last)
    return Place(last, (seat.had + sum(tenant == last for _, _, tenant in picked)) % seat.weight)


def _room(tenant: UUID, priority_class: PriorityClass, terms: PlanTerms, in_flight: int) -> Room:
    cap = terms.in_flight[priority_class]
    return Room(tenant, terms.weight, None if cap is None else max(0, cap - in_flight))


@transaction.atomic
def _take(priority_class: PriorityClass, seats: list[_Seat], *, free: int, now: datetime) -> list[Picked]:
    with connection.cursor() as cursor:
        cursor.execute(
            PICK,
            {
                "tenants": [seat.tenant for seat in seats],
                "shares": [seat.most for seat in seats],
                "weights": [seat.weight for seat in seats],
                "had": [seat.had for seat in seats],
                "class": priority_class,
                "endpoints": seen.held(HoldScope.ENDPOINT),
                "agents": seen.held(HoldScope.AGENT),
                "most": free,
            },
        )
        picked: list[Picked] = cursor.fetchall()
    moved = lifecycle.move(
        Move.ADMIT,
        [lifecycle.of(job_id, attempt=attempt) for job_id, attempt, _ in picked],
        now=now,
        right=lifecycle.SAME_ATTEMPT,
    )
    return [each for each in picked if each[0] in moved]
