"""How free slots are shared between tenants: weighted rounds, bounded by each one's cap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Room:
    """A tenant that waits: its weight, and how many jobs more its plan lets in flight (None is no cap)."""

    tenant: UUID
    weight: int
    room: int | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the ring of tenants stands: the one that was served last, and how many jobs of its weight it had by then."""

    tenant: UUID
    had: int = 0

    @property
    def behind(self) -> UUID:
        """The ring goes on behind this id: one who has not had its whole weight is the next again."""
        return UUID(int=self.tenant.int - 1) if self.had else self.tenant


START = Place(UUID(int=0))

KEPT = 32
"""One slot in so many is kept for tenants that have nothing in flight: behind a backlog, slots come free in crowds and seldom."""


def kept(slots: int) -> int:
    """Return how many of a class's slots the ring leaves free; none where slots are few."""
    return slots // KEPT


def shares(rooms: Sequence[Room], *, free: int) -> dict[UUID, int]:
    """Return the most that each tenant may be given now.

    One who waits alone may take all free slots; among several each may take its weight's
    part of them, at least one, so that slots nobody else wants are found in the next round.
    """
    able = [room for room in rooms if room.room != 0]
    whole = sum(room.weight for room in able)
    given = {room.tenant: max(1, -(-free * room.weight // whole)) for room in able} if free else {}
    return {room.tenant: given[room.tenant] if room.room is None else min(room.room, given[room.tenant]) for room in able if given}


A_MESSAGE = 128


def messages(claims: Sequence[C], *, processes: int) -> list[Sequence[C]]:
    """Share a round's jobs between as many messages as there are processes, each of a bounded size."""
    size = min(A_MESSAGE, -(-len(claims) // max(1, processes))) or 1
    return [claims[start : start + size] for start in range(0, len(claims), size)]


TICK_S = 0.02
"""Rounds come at once when idle and no faster than this when busy: a tick's jobs go together, which is most of the speed."""
REST = 12
"""After a round comes a rest of so many times its own length: what follows it, message, claim and finish, costs several times as much."""
LONGEST_TICK_S = 0.06
A_FEW = 4
"""A round that brought fewer has nothing to carry together: however long it took, the next may begin in a tick."""
SHORT_TICK_S = 0.005
A_CROWD = 64
"""After a round that brought as many as this the next may come sooner: there is enough to carry together."""
AT_ONCE = 4


class Pace:
    """When the next round may begin: a few at once after a rest, then one a tick (the generic cell rate algorithm).

    The tick of rounds that bring more than a few grows with what they take, so that a machine that is full carries more together
    instead of more often.
    """

    def __init__(self) -> None:
        self._next = 0.0
        self._ended = 0.0
        self._credit = AT_ONCE * TICK_S

    def wait(self, *, now: float, has_newcomer: bool = False) -> float:
        """Return the seconds until a round may begin: for somebody who has nothing under way no more than a tick after the last."""
        begins = self._next - self._credit
        return max(0.0, (min(begins, self._ended + TICK_S) if has_newcomer else begins) - now)

    def went(self, admitted: int, *, took: float, now: float) -> None:
        """Note a round that has just ended, and the seconds that it took."""
        rest = min(max(TICK_S, REST * took), LONGEST_TICK_S) if admitted >= A_FEW else TICK_S
        self._ended = now
        self._next = max(self._next, now) + (SHORT_TICK_S if admitted >= A_CROWD else rest)
        self._credit = AT_ONCE * rest
