"""Which shards go into free slots: round the tenants by weight, then round a tenant's batches, then in a batch's order."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A batch whose shards wait: which, in their order, and how many of it are at work or on their way."""

    batch: UUID
    tenant: UUID
    waiting: Sequence[int]
    at_work: int = 0
    served_at: datetime = LONG_AGO
    """When it was last given a slot; before the first, when it was opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a tenant has at work, the most that its plan lets it have (None: no cap) and its weight; when it was last given a slot."""

    at_work: int = 0
    most: int | None = None
    weight: int = 1
    served_at: datetime = LONG_AGO

    def has_room(self, taken: int = 0) -> bool:
        return self.most is None or self.at_work + taken < self.most

    def takes_from(self, other: Share) -> bool:
        """Say whether a slot that the other gave back would be this tenant's, at the latest when it is given back again."""
        return self.has_room() and _rank(self, 0) <= _rank(other, -1)


def admitted(free: int, lines: Sequence[Line], shares: Mapping[UUID, Share]) -> Mapping[UUID, Sequence[int]]:
    """Return which shards of which batch take the free slots.

    Each slot goes to the tenant with the fewest shards at work for its weight, and of its batches to the one with the
    fewest; among equals to who was given one longest ago, then in the lines' order. Nobody is behind a big batch: it
    takes what others leave.
    """
    tenants: dict[UUID, list[_Place]] = {}
    for number, line in enumerate(lines):
        if line.waiting:
            heapq.heappush(tenants.setdefault(line.tenant, []), (line.at_work, line.served_at, number))
    ring = [_seat(shares.get(tenant, Share()), 0, queue, tenant) for tenant, queue in tenants.items()]
    heapq.heapify(ring)
    taken: dict[UUID, list[int]] = {}
    while free > 0 and ring:
        *_, tenant, count = heapq.heappop(ring)
        share = shares.get(tenant, Share())
        if not share.has_room(count):
            continue
        _take_one(lines, tenants[tenant], taken)
        free -= 1
        if queue := tenants[tenant]:
            heapq.heappush(ring, _seat(share, count + 1, queue, tenant))
    return taken


_Place = tuple[int, datetime, int]
_Seat = tuple[float, datetime, int, UUID, int]


def _seat(share: Share, taken: int, queue: Sequence[_Place], tenant: UUID) -> _Seat:
    """Return a tenant's place in the ring: the least comes first."""
    *_, number = queue[0]
    return _rank(share, taken), share.served_at, number, tenant, taken


def _rank(share: Share, taken: int) -> float:
    return (share.at_work + taken) / share.weight


def _take_one(lines: Sequence[Line], queue: list[_Place], taken: dict[UUID, list[int]]) -> None:
    at_work, served_at, number = heapq.heappop(queue)
    line = lines[number]
    mine = taken.setdefault(line.batch, [])
    mine.append(line.waiting[len(mine)])
    if len(mine) < len(line.waiting):
        heapq.heappush(queue, (at_work + 1, served_at, number))
