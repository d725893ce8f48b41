"""The streams that are open in this web process: how many there may be, of each tenant over all processes, and how they are ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import structlog
from django.conf import settings

from invocation.domain.errors import ConnectionsFull, TooManyConnections
from invocation.domain.sessions import Line
from invocation.gateways import shared_counts
from invocation.services import tallies
from quota.domain.callers import Caller

REPORT_S = 2.0
SOON_S = 0.2
RETRY_FULL = timedelta(seconds=2)
NO_LIMIT = -1
UNNAMED = "none"

log = structlog.get_logger()


class Place:
    """One open stream. Leaving twice is leaving once."""

    def __init__(self, desk: Desk, tenant_id: UUID, line: Line) -> None:
        self.tenant_id = tenant_id
        self.line = line
        self.endpoint = UNNAMED
        self._send_away: Callable[[], None] = _nothing
        self._desk = desk

    def name(self, endpoint: str) -> None:
        """Say which endpoint the stream is of."""
        self.endpoint = endpoint

    def serve(self, *, send_away: Callable[[], None]) -> None:
        """Say what ends the stream so that its reader comes back elsewhere; done at once if all were sent away meanwhile."""
        self._send_away = send_away
        if self._desk.is_closed:
            send_away()

    def send_away(self) -> None:
        self._send_away()

    def leave(self) -> None:
        self._desk.forget(self)


class Desk:
    """Counts the streams of one process, and tells the other processes."""

    def __init__(self) -> None:
        self._process = uuid4().hex
        self._places: set[Place] = set()
        self._by_tenant: Counter[UUID] = Counter()
        self._told: set[UUID] = set()
        self._changed = asyncio.Event()
        self._reporter: asyncio.Task[None] | None = None
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._places)

    async def enter(self, caller: Caller, line: Line) -> Place:
        """Let a stream in. Raises ConnectionsFull and TooManyConnections; without Redis a tenant's limit holds in each process."""
        if self.is_closed:
            raise ConnectionsFull("This web process leaves: connect again.", retry_after=RETRY_FULL)
        if len(self._places) >= settings.WEB_CONNECTIONS:
            raise ConnectionsFull(f"This web process holds {len(self._places)} streams, its most.", retry_after=RETRY_FULL)
        place = Place(self, caller.tenant_id, line)
        self._places.add(place)
        self._by_tenant[caller.tenant_id] += 1
        try:
            await self._must_fit(caller)
        except BaseException:
            place.leave()
            raise
        self.report_soon()
        return place

    def forget(self, place: Place) -> None:
        """Take a place back. The reporter runs while there is one; this may be the garbage collector's doing, without a loop."""
        if place in self._places:
            self._places.discard(place)
            self._by_tenant[place.tenant_id] -= 1
            self._changed.set()

    def send_away(self) -> None:
        """End every stream, those that begin just now once they are served, and let none in: not over a connection kept alive either."""
        self.is_closed = True
        for place in tuple(self._places):
            place.send_away()

    def report_soon(self) -> None:
        self._changed.set()
        if self._reporter is None or self._reporter.done():
            self._reporter = asyncio.get_running_loop().create_task(self._report_for_ever())

    async def report(self) -> None:
        """Tell what is open and what was measured; while Redis is away what was measured is kept."""
        measured = tallies.take()
        try:
            told = await shared_counts.repeat(process=self._process, count=self._held)
            kinds = Counter(f"{place.endpoint} {place.line}" for place in self._places)
            await shared_counts.report(process=self._process, by_kind=kinds, tallies=measured)
        except shared_counts.GONE as gone_away:
            tallies.put_back(measured)
            log.warning("stream_figures_kept", error=str(gone_away))
            return
        self._told = self._told - told.keys() | {tenant for tenant, count in told.items() if count}
        for tenant in [tenant for tenant, count in self._by_tenant.items() if not count]:
            del self._by_tenant[tenant]

    def _held(self) -> dict[UUID, int]:
        """Count the streams of each tenant that has some, or had when that was last told."""
        return dict.fromkeys(self._told, 0) | {tenant: count for tenant, count in self._by_tenant.items() if count}

    async def aclose(self) -> None:
        """Report no more."""
        if self._reporter is not None:
            self._reporter.cancel()
            await asyncio.wait([self._reporter])

    async def _must_fit(self, caller: Caller) -> None:
        limit = caller.plan.connections
        if limit is None:
            return
        own = self._by_tenant[caller.tenant_id]
        try:
            fits, others = await shared_counts.enter(caller.tenant_id, process=self._process, own=own, limit=limit)
            self._told.add(caller.tenant_id)
        except shared_counts.GONE:
            fits, others = own <= limit, 0
        if not fits:
            told = f"{others + own - 1} streams of this tenant are open; its plan allows {limit} at once."
            raise TooManyConnections(told, retry_after=RETRY_FULL, limit=limit, used=others + own - 1)

    async def _report_for_ever(self) -> None:
        """Soon after a change, and often enough that nothing lapses; ends once there is nothing to tell."""
        while self._places or self._told or self._changed.is_set() or tallies.are_untold():
            self._changed.clear()
            await asyncio.sleep(SOON_S)
            await self.report()
            try:
                async with asyncio.timeout(REPORT_S):
                    await self._changed.wait()
            except TimeoutError:
                continue


def _nothing() -> None:
    """What can be done to a stream that nobody serves yet."""


_desks: WeakKeyDictionary[asyncio.AbstractEventLoop, Desk] = WeakKeyDictionary()


def desk() -> Desk:
    """Return the desk of the running loop; a web process has one loop, hence one desk."""
    loop = asyncio.get_running_loop()
    found = _desks.get(loop)
    if found is None:
        found = _desks[loop] = Desk()
    return found


async def aclose() -> None:
    """Close the running loop's desk and what it speaks through."""
    found = _desks.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.aclose()
    await shared_counts.aclose()
