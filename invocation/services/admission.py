"""Admission: late, as far as live slots allow, and fair between tenants. Its cost does not grow with the backlog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from invocation.domain.rounds import START, Place, Room, kept, shares
from invocation.models.admission import HoldScope
from invocation.selectors import admission as seen
from invocation.selectors.admission import Scene
from invocation.services import lifecycle, searching
from invocation.services.searching import Spots
from quota.domain.callers import PlanTerms
from quota.domain.classes import PriorityClass

NOWHERE: Spots = MappingProxyType({})
TENANTS_A_ROUND = 64
MOST_A_ROUND = 256

# The first jobs of each tenant, as many as its share, past what has expired (the front alone is looked at: the rest is the sweep's);
# in ring order, as many of each as its weight, before it is anybody's second turn.
PICK = """
SELECT picked.id, picked.attempt, share.tenant_id, picked.is_alone
FROM unnest(%(tenants)s::uuid[], %(shares)s::int[], %(weights)s::int[], %(had)s::int[]) WITH ORDINALITY
    AS share (tenant_id, most, weight, had, seat)
CROSS JOIN LATERAL (
    SELECT job.id, job.attempt, job.is_alone, row_number() OVER () AS place FROM (
        SELECT front.id, front.attempt, front.is_alone FROM (
            SELECT near.id, near.attempt, near.is_alone, near.expires_at FROM invocation_job AS near
            WHERE near.state = 'queued' AND NOT near.is_behind
              AND near.priority_class = %(class)s AND near.tenant_id = share.tenant_id
            ORDER BY near.rank, near.id LIMIT share.most + %(front)s
        ) AS front
        WHERE front.expires_at IS NULL OR front.expires_at > %(now)s::timestamptz LIMIT share.most
    ) AS job
) AS picked
ORDER BY (share.had + picked.place - 1) / share.weight, share.seat, picked.place LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Picked:
    """A job that was admitted, in which attempt, whose it is, and whether it must run alone in its process."""

    job_id: UUID
    attempt: int
    tenant: UUID
    is_alone: bool


@dataclass(frozen=True, slots=True)
class _Seat:
    """A tenant's place in this round: the most that it may be given, its weight, and what it had of that before."""

    tenant: UUID
    most: int
    weight: int
    had: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """One class's jobs that may run now, where the ring goes on, and whether another round might admit more at once."""

    priority_class: PriorityClass
    picked: Sequence[Picked] = ()
    place: Place = START
    more: bool = False
    processes: int = 1
    """How many share them: as many messages, so that none has to pass on what fits another."""
    is_short: bool = False
    """Slots, or a tenant's cap, ran out: somebody may be waiting for a run to end."""
    spots: Spots = field(default_factory=dict)
    """Where the search past held jobs goes on in the next round, by tenant."""
    passed_by: tuple[UUID, ...] = ()
    """Of those who have just submitted, whoever had no seat; they have one in the next round."""

    newcomers: frozenset[UUID] = frozenset()
    """Those who came first because they had nothing in flight: what is theirs goes ahead, in a message of its own."""

    @property
    def first(self) -> list[tuple[UUID, int]]:
        return self._claims([each for each in self.picked if each.tenant in self.newcomers])

    @property
    def claims(self) -> list[tuple[UUID, int]]:
        return self._claims([each for each in self.picked if each.tenant not in self.newcomers])

    @staticmethod
    def _claims(picked: Sequence[Picked]) -> list[tuple[UUID, int]]:
        return [(each.job_id, each.attempt) for each in picked if not each.is_alone]

    @property
    def alone(self) -> list[tuple[UUID, int]]:
        """Those whose worker vanished before: each runs in a process of its own."""
        return [(each.job_id, each.attempt) for each in self.picked if each.is_alone]


def look(priority_class: PriorityClass, *, place: Place, now: datetime) -> Scene:
    """Return what a round needs to know of a class: free slots, holds, what is in flight, and who waits."""
    return seen.scene(priority_class, after=place.behind, most=TENANTS_A_ROUND, now=now)


def admit(
    priority_class: PriorityClass,
    scene: Scene,
    *,
    terms: Mapping[UUID, PlanTerms],
    place: Place,
    now: datetime,
    fresh: Sequence[UUID] = (),
    spots: Spots = NOWHERE,
) -> Admitted:
    """Admit as many jobs of a class as slots are free, round-robin over tenants from where the last round ended, each up to its weight.

    Where slots ran out the ring goes on with whoever was next; so nobody is passed over for
    ever, and one slot at a time is shared as fairly as a hundred. `fresh` are tenants that
    have just submitted: those of them that have nothing in flight come first with one job
    each, in at most half of the slots, so that a newcomer need not wait for the ring; a few
    slots are kept for them, so that it need not wait for a run to end.
    """
    free = min(scene.free, MOST_A_ROUND)
    if free == 0 or priority_class in scene.held[HoldScope.CLASS]:
        return Admitted(priority_class, place=place, is_short=bool(scene.waiting), spots=spots, passed_by=tuple(fresh))
    rooms = [_room(tenant, priority_class, terms[tenant], scene) for tenant in scene.waiting if _may_run(tenant, scene, terms)]
    common = min(free, max(0, scene.free - kept(scene.slots)))
    given = shares(rooms, free=common)
    ring = [_Seat(tenant, most, terms[tenant].weight, place.had if tenant == place.tenant else 0) for tenant, most in given.items()]
    new, half = [tenant for tenant in fresh if _is_new(tenant, priority_class, scene, terms)], max(1, free // 2)
    early, late = new[:half], tuple(new[half:])
    seats = [_Seat(tenant, given.get(tenant, 1), 1) for tenant in early] + [seat for seat in ring if seat.tenant not in early]
    most = min(free, common + len(early))
    picked, gone_on = _take(priority_class, seats, scene, spots, most=most, now=now) if seats else ([], spots)
    is_full = len(picked) >= scene.free - kept(scene.slots)
    more = not is_full and (len(picked) == most or len(scene.waiting) == TENANTS_A_ROUND or _cut(picked, seats))
    went_to = _went_to(picked, ring, scene, place, most=most)
    is_short = is_full or _at_cap(picked, rooms)
    return Admitted(priority_class, picked, went_to, more, scene.processes, is_short, gone_on, late, frozenset(early))


def _at_cap(picked: Sequence[Picked], rooms: Sequence[Room]) -> bool:
    got = Counter(each.tenant for each in picked)
    return any(room.room is not None and got[room.tenant] >= room.room for room in rooms)


def _may_run(tenant: UUID, scene: Scene, terms: Mapping[UUID, PlanTerms]) -> bool:
    return tenant in terms and str(tenant) not in scene.held[HoldScope.TENANT]


def _is_new(tenant: UUID, priority_class: PriorityClass, scene: Scene, terms: Mapping[UUID, PlanTerms]) -> bool:
    """Say whether a tenant has nothing in flight and its plan lets it have something."""
    return _may_run(tenant, scene, terms) and scene.in_flight[tenant] == 0 and terms[tenant].in_flight[priority_class] != 0


def _went_to(picked: Sequence[Picked], ring: Sequence[_Seat], scene: Scene, place: Place, *, most: int) -> Place:
    """Return where slots ran out: at the ring's last tenant served, with what it has had of its weight."""
    if len(picked) < most:
        return Place(scene.waiting[-1]) if scene.waiting else START
    seats = {seat.tenant: seat for seat in ring}
    last = next((seats[each.tenant] for each in reversed(picked) if each.tenant in seats), None)
    if last is None:
        return place
    return Place(last.tenant, (last.had + sum(each.tenant == last.tenant for each in picked)) % last.weight)


def _cut(picked: Sequence[Picked], seats: Sequence[_Seat]) -> bool:
    """Say whether somebody took all of its share, so that slots nobody else wanted may go to it in another round."""
    got = [each.tenant for each in picked]
    return any(got.count(seat.tenant) >= seat.most for seat in seats)


def _room(tenant: UUID, priority_class: PriorityClass, terms: PlanTerms, scene: Scene) -> Room:
    cap = terms.in_flight[priority_class]
    return Room(tenant, terms.weight, None if cap is None else max(0, cap - scene.in_flight[tenant]))


def _take(
    priority_class: PriorityClass, seats: Sequence[_Seat], scene: Scene, spots: Spots, *, most: int, now: datetime
) -> tuple[list[Picked], Spots]:
    """Admit the first jobs of each seat that are not held; return them and where the search past held ones goes on."""
    word, endpoints, agents = str(priority_class), scene.held[HoldScope.ENDPOINT], scene.held[HoldScope.AGENT]
    tenants = [seat.tenant for seat in seats]
    shares = {
        "shares": [seat.most for seat in seats],
        "weights": [seat.weight for seat in seats],
        "had": [seat.had for seat in seats],
        "most": most,
        "front": searching.FRONT,
    }
    if not endpoints and not agents:
        found = lifecycle.admit(PICK, {**shares, "tenants": tenants, "class": word}, now=now)
        return [Picked(*row) for row in found], NOWHERE
    ahead = searching.went_on(tenants, spots, word)
    past = {"endpoints": list(endpoints), "agents": list(agents)}
    found = lifecycle.admit(searching.PICK, {**shares, **past, **searching.given(tenants, spots, word)}, now=now)
    picked = [Picked(*row) for row in found]
    return picked, _searched(spots, ahead, seats, picked)


def _searched(spots: Spots, ahead: Spots, seats: Sequence[_Seat], picked: Sequence[Picked]) -> Spots:
    """Let the search of whoever got less than its share go on; where more may lie in this stretch it stays."""
    got = Counter(each.tenant for each in picked)
    lacking = {seat.tenant for seat in seats if got[seat.tenant] < seat.most}
    kept = {tenant: spot for tenant, spot in spots.items() if tenant not in lacking}
    return {**kept, **{tenant: spot for tenant, spot in ahead.items() if tenant in lacking}}
