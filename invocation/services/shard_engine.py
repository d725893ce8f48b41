"""Holds the shards that a process of class p3 runs, from their claim to their end or their hand-back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError

from invocation.domain.batches import Stop
from invocation.domain.errors import ManifestChanged, StaleMove
from invocation.domain.losses import most_beside
from invocation.gateways import declared
from invocation.gateways.database import off_loop, patiently
from invocation.models import Batch
from invocation.services import shards
from invocation.services.rows_in_flight import RowsInFlight
from invocation.services.shard_runs import ShardRun

log = structlog.get_logger()
WAIT_WHILE_AWAY = timedelta(seconds=10)
WAIT_WHILE_SPENT = timedelta(seconds=2)
WAIT_WHILE_BESIDE = timedelta(seconds=1)
WAIT_WHILE_UNKNOWN = timedelta(seconds=10)
LONGEST_UNKNOWN_S = 300.0
"""After that a shard breaks by what is not known, so that its batch is paused and somebody looks."""


class ShardEngine:
    """Holds the shards of this process. `run` may be called on the loop only."""

    def __init__(self, *, owner: UUID) -> None:
        self._owner = owner
        self._draining = False
        self._running: dict[str, ShardRun | None] = {}
        self._unknown_since: dict[int, float] = {}
        self._idle = asyncio.Event()
        self._rows = RowsInFlight(most=settings.ROWS_IN_FLIGHT, most_of_a_shard=settings.ROWS_OF_A_SHARD)

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def running(self) -> frozenset[str]:
        return frozenset(self._running)

    @property
    def limits(self) -> Mapping[str, int]:
        """Return how many rows may run at once against each model."""
        return self._rows.limits

    def stop(self, run_ids: Sequence[str]) -> None:
        """A batch that was cancelled or paused is found by its shards themselves, twice a second."""

    async def run(self, shard_id: int) -> str:
        """Run a shard to its end, or to a checkpoint where it makes way; never raises, so that the chord's body runs.

        A shard that breaks, as when the disk is full, is tried again; the third time its batch is paused.
        """
        key = str(shard_id)
        if key in self._running:
            return "taken"
        self._running[key] = None
        self._idle.clear()
        try:
            return await self._run(shard_id)
        except StaleMove as stale:
            log.warning("fenced_out", shard_id=shard_id, detail=stale.detail)
            return "stale"
        except Exception as error:
            log.exception("shard_broke", shard_id=shard_id)
            return await self._broke(shard_id, error)
        finally:
            del self._running[key]
            if not self._running:
                self._idle.set()

    async def _broke(self, shard_id: int, error: Exception) -> str:
        """Charge the shard, unless the database is away: then the heartbeat gives it back."""
        try:
            await off_loop(shards.charge, shard_id, owner=self._owner, sentence=f"{type(error).__name__}: {error}"[:300])
        except DatabaseError:
            log.warning("shard_not_charged", shard_id=shard_id)
        return "failed"

    async def drain(self, grace: timedelta) -> None:
        """Stop each shard at a checkpoint behind the rows that run; one that cannot is given back all the same: no worker vanished."""
        self._draining = True
        for work in self._running.values():
            if work:
                work.stop(Stop.HANDED_BACK)
        try:
            async with asyncio.timeout(grace.total_seconds()):
                if self._running:
                    await self._idle.wait()
        except TimeoutError:
            log.warning("drain_cut_short", shards=self.in_flight)
            await off_loop(_return_all, self._owner)

    async def _run(self, shard_id: int) -> str:
        work = await self._claimed(shard_id)
        if work is None:
            return "taken"
        if self._draining:
            work.stop(Stop.HANDED_BACK)
        try:
            return await self._left(work, await work.to_its_end())
        except ManifestChanged as changed:
            await patiently(shards.hand_back_changed, work.shard, sentence=changed.detail)
            return changed.code

    async def _claimed(self, shard_id: int) -> ShardRun | None:
        """Claim a shard, unless its losses are too many for what runs here; what was claimed meanwhile is looked at as well."""
        claimed = await off_loop(shards.claim, shard_id, owner=self._owner, most_losses=self._most_losses())
        if claimed is None:
            return None
        if claimed.shard.losses > self._most_losses():
            await patiently(shards.hand_back, claimed.shard, wait=WAIT_WHILE_BESIDE)
            return None
        if self._must_leave(shard_id, claimed.batch):
            await patiently(shards.hand_back, claimed.shard, wait=WAIT_WHILE_UNKNOWN)
            return None
        work = self._running[str(shard_id)] = ShardRun(claimed, self._rows)
        return work

    def _must_leave(self, shard_id: int, batch: Batch) -> bool:
        """Say whether a shard is for another process, charged to nobody: in a deploy one may know the agent that this one does not."""
        if declared.knows(batch.endpoint, batch.agent):
            self._unknown_since.pop(shard_id, None)
            return False
        now = time.monotonic()
        log.warning("shard_of_an_unknown_agent", shard_id=shard_id, endpoint=batch.endpoint, agent=batch.agent)
        return now - self._unknown_since.setdefault(shard_id, now) < LONGEST_UNKNOWN_S

    def _most_losses(self) -> int:
        return most_beside(work.losses for work in self._running.values() if work)

    async def _left(self, work: ShardRun, stop: Stop | None) -> str:
        """Say in the database how the run ended. Raises StaleMove also where that was said and nobody heard: nothing is lost then."""
        if stop is None:
            await patiently(shards.complete, work.shard)
            return "completed"
        if stop is Stop.ENDED:
            await patiently(shards.cancel, work.shard)
        elif stop is Stop.SPENT:
            await patiently(shards.hand_back_spent, work.shard, had=work.short, wait=WAIT_WHILE_SPENT)
        else:
            wait = WAIT_WHILE_AWAY if stop is Stop.AWAY else None
            await patiently(shards.hand_back, work.shard, short=work.short, wait=wait)
        return str(stop)


def _return_all(owner: UUID) -> None:
    shards.return_broken_off(shards.held_by(owner))
