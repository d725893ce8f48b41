"""Which shards go into free slots: round the tenants by weight, then round a tenant's batches, then in a batch's order."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A batch whose shards wait: which, in their order, and how many of it are at work or on their way."""

    batch: UUID
    tenant: UUID
    waiting: Sequence[int]
    at_work: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a tenant has at work, the most that its plan lets it have (None: no cap), and its plan's weight."""

    at_work: int = 0
    most: int | None = None
    weight: int = 1

    def has_room(self, taken: int) -> bool:
        return self.most is None or self.at_work + taken < self.most


def admitted(free: int, lines: Sequence[Line], shares: Mapping[UUID, Share]) -> Mapping[UUID, Sequence[int]]:
    """Return which shards of which batch take the free slots.

    Each slot goes to the tenant with the fewest shards at work for its weight, and of its batches to the one with the
    fewest; among equals to whose batch is older. Nobody is behind a big batch: it takes what others leave.
    """
    tenants: dict[UUID, list[tuple[int, int]]] = {}
    for number, line in enumerate(lines):
        if line.waiting:
            heapq.heappush(tenants.setdefault(line.tenant, []), (line.at_work, number))
    ring = [(_rank(shares.get(tenant, Share()), 0), queue[0][1], tenant, 0) for tenant, queue in tenants.items()]
    heapq.heapify(ring)
    taken: dict[UUID, list[int]] = {}
    while free > 0 and ring:
        _, _, tenant, count = heapq.heappop(ring)
        share = shares.get(tenant, Share())
        if not share.has_room(count):
            continue
        _take_one(lines, tenants[tenant], taken)
        free -= 1
        if queue := tenants[tenant]:
            heapq.heappush(ring, (_rank(share, count + 1), queue[0][1], tenant, count + 1))
    return taken


def _rank(share: Share, taken: int) -> float:
    return (share.at_work + taken) / share.weight


def _take_one(lines: Sequence[Line], queue: list[tuple[int, int]], taken: dict[UUID, list[int]]) -> None:
    at_work, number = heapq.heappop(queue)
    line = lines[number]
    mine = taken.setdefault(line.batch, [])
    mine.append(line.waiting[len(mine)])
    if len(mine) < len(line.waiting):
        heapq.heappush(queue, (at_work + 1, number))
