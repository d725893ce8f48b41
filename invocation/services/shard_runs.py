"""One claimed shard on the loop: its rows run continuously, and what is finished goes into the next checkpoint."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from django.db import DatabaseError

from agents.domain import registry
from agents.domain.values import Tier
from agents.services import providers
from invocation.domain.batches import BATCH_ENDED, BATCH_OPEN, CHECKPOINT_ROWS, CHECKPOINT_S, Row, Stop, checkpoint_within
from invocation.domain.budgets import Allowance
from invocation.domain.errors import ManifestChanged, StaleMove
from invocation.domain.places import Places
from invocation.gateways import declared
from invocation.gateways.database import off_loop, patiently, patiently_stored
from invocation.models import Batch
from invocation.services import batch_pauses, shards, waves
from invocation.services.caution import Caution
from invocation.services.finished_rows import FinishedRow
from invocation.services.row_runs import RowRuns
from invocation.services.rows_in_flight import RowsInFlight
from invocation.services.shard_checkpoints import Keeper
from invocation.services.shard_rows import ShardRows
from invocation.services.shards import ShardClaimed
from invocation.services.time_slices import TimeSlice
from quota.domain.budgets import NONE, Spending
from quota.domain.ledger import LedgerLine

log = structlog.get_logger()
ROWS_READ_AT_ONCE = 256
MOST_FINISHED = 4 * CHECKPOINT_ROWS
"""Finished rows in memory beyond which none begins until a checkpoint has taken them."""
MOST_AHEAD = 50 * CHECKPOINT_ROWS
"""Rows behind the first unfinished one beyond which none begins."""
LOOK_S = 0.5
GRACE_S = 30.0
"""How long rows that run may go on when the process is to end; then they are cut off, and run again elsewhere."""


class ShardRun:
    """Rows run in lanes, each one row after another; one keeper makes checkpoints while they go on."""

    def __init__(self, claimed: ShardClaimed, rows: RowsInFlight) -> None:
        self._claimed, self.shard, self.batch = claimed, claimed.shard, claimed.batch
        self.short = NONE
        self._rows = rows
        self._model = _model_of(self.batch.agent)
        self._caution = Caution(self.shard.losses)
        self._why: Stop | None = None
        self._stopping = asyncio.Event()
        self._slice = TimeSlice()
        self._ending = asyncio.Event()
        self._lanes: set[asyncio.Task[None]] = set()
        self._queue: deque[tuple[int, Row]] = deque()
        self._reading = asyncio.Lock()
        self._is_read = False
        self._done: list[FinishedRow] = []
        self._bell = asyncio.Event()
        self._room = asyncio.Event()
        self._places = Places(self.shard.position, self.shard.ahead)
        self._redo: dict[int, str] = {}
        self._source = ShardRows(claimed, ())
        self._changed: ManifestChanged | None = None

    @property
    def losses(self) -> int:
        """Return how many workers the shard has lost, while its rows run with care for that."""
        return self._caution.losses

    def stop(self, why: Stop, *, short: Spending = NONE) -> None:
        """Let no row begin any more; those that run come to their end, unless the process ends before. The first reason counts.

        `short` is what there was too little of: of a tenant's day what the next row could take, of the batch's caps all that the shard had.
        """
        if self._why is None:
            self._why, self.short = why, short
            self._stopping.set()
            self._bell.set()
        if why is Stop.HANDED_BACK:
            self._ending.set()

    async def to_its_end(self) -> Stop | None:
        """Run what is left of the shard; return why it stopped, or nothing when every row is finished.

        Raises StaleMove if the shard was taken from us, and ManifestChanged. The calls of rows that cannot count are booked all the same:
        they were made.
        """
        flow = self._rows.join(self._model)
        lines: list[LedgerLine] = []
        try:
            self._redo = {redo.place: redo.code for redo in await patiently(shards.to_redo, self.shard)}
            self._source = ShardRows(self._claimed, self._redo)
            allowance = Allowance(await patiently(shards.reserve, self.shard))
            keeper = Keeper(self._claimed, places=self._places, redo=self._redo, allowance=allowance, lines=lines, caution=self._caution)
            work = RowRuns(
                self.batch,
                allowance=allowance,
                widen=keeper.widen,
                lines=lines,
                flow=flow,
                stopping=self._stopping,
                stop=self.stop,
            )
            await self._played(work, keeper)
        except BaseExceptionGroup as group:
            await patiently(shards.book_late, self.shard, lines)
            raise _leading(group) from group
        except Exception:
            await patiently(shards.book_late, self.shard, lines)
            raise
        finally:
            self._rows.leave(self._model)
        if self._changed is not None:
            raise self._changed
        return self._why

    async def _played(self, work: RowRuns, keeper: Keeper) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._watch()), group.create_task(self._cut_off())]
            self._staff(group, work)
            while self._lanes or self._done:
                await self._due(keeper.parts)
                done, self._done = self._done, []
                self._bell.clear()
                self._room.set()
                if await keeper.keep(done):
                    self.stop(Stop.HELD)
                self._staff(group, work)
            await keeper.keep([])
            for task in beside:
                task.cancel()

    async def _due(self, parts: int) -> None:
        """Wait for the next checkpoint: enough rows, or enough time, or the end. A shard that is to stop has no time to wait."""
        while self._lanes and len(self._done) < self._enough:
            try:
                async with asyncio.timeout(CHECKPOINT_S if self._why else checkpoint_within(parts)):
                    await self._bell.wait()
            except TimeoutError:
                if self._done:
                    return
            self._bell.clear()

    @property
    def _enough(self) -> int:
        return self._caution.at_once or CHECKPOINT_ROWS

    @property
    def _share(self) -> int:
        share = self._rows.share(self._model)
        return min(self._caution.at_once or share, share)

    def _staff(self, group: asyncio.TaskGroup, work: RowRuns) -> None:
        """Open lanes up to the shard's share."""
        while self._why is None and not (self._is_read and not self._queue) and len(self._lanes) < self._share:
            lane = group.create_task(self._lane(group, work))
            self._lanes.add(lane)
            lane.add_done_callback(self._ended)

    def _ended(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        if not self._lanes:
            self._bell.set()

    async def _lane(self, group: asyncio.TaskGroup, work: RowRuns) -> None:
        """Run one row after another while there are some, and room for this lane."""
        while self._why is None and self._has_room():
            taken = self._queue.popleft() if self._queue else await self._next()
            if taken is None:
                return
            self._slice.begin()
            finished = self._caution.begin(*taken) or await work.run(*taken)
            if finished:
                self._done.append(finished)
                await self._made_room()
            self._staff(group, work)

    def _has_room(self) -> bool:
        """Say whether the lane that asks may go on. One that may not counts no longer, at once: of lanes that ask together some stay."""
        if len(self._lanes) <= self._share:
            return True
        self._lanes -= {lane for lane in self._lanes if lane is asyncio.current_task()}
        return False

    async def _made_room(self) -> None:
        await self._caution.finished(self._bell)
        if len(self._done) < CHECKPOINT_ROWS:
            return
        self._bell.set()
        while len(self._done) >= MOST_FINISHED:
            self._room.clear()
            await self._room.wait()

    async def _next(self) -> tuple[int, Row] | None:
        """Read on, a few hundred rows at once and beside the loop; nothing when there are no more, or the shard is to stop."""
        async with self._reading:
            while not self._queue and not self._is_read and self._why is None:
                await self._wait_for_the_first()
                block = await self._read()
                self._is_read = not block
                self._queue.extend(each for each in block if each[0] in self._redo or each[0] not in self._places)
            return self._queue.popleft() if self._queue and self._why is None else None

    async def _read(self) -> Sequence[tuple[int, Row]]:
        """Return the next rows; none of a manifest that was changed: what runs comes to its end and is kept before that is said."""
        try:
            return await patiently_stored(self._source.read, ROWS_READ_AT_ONCE)
        except ManifestChanged as changed:
            self._changed = changed
            self.stop(Stop.HELD)
            return ()

    async def _wait_for_the_first(self) -> None:
        """Go no further ahead of the first unfinished row than can be remembered."""
        while self._why is None and self._places.count_ahead >= MOST_AHEAD:  # noqa: ASYNC110  (rare)
            await asyncio.sleep(LOOK_S)

    async def _watch(self) -> None:
        """Look twice a second whether the shard is still to run. Where its batch has ended, its rows are cut off at once."""
        while True:
            await asyncio.sleep(LOOK_S)
            if why := await off_loop(_why_stop, self.batch):
                self.stop(why)
            elif self._slice.is_over() and await off_loop(_others_wait, self.batch):
                self.stop(Stop.SLICED)
            if why is Stop.ENDED:
                return self._cut()

    async def _cut_off(self) -> None:
        """Give rows that run a while to their end when the process is to end: cut off for less they would be paid for again and again."""
        await self._ending.wait()
        await asyncio.sleep(GRACE_S)
        self._cut()

    def _cut(self) -> None:
        """End the rows that run: what their calls have used by then is billed, and what is finished is kept."""
        for lane in self._lanes:
            lane.cancel()


def _model_of(agent: str) -> str:
    """Return the model that the agent's rows ask first."""
    name, _, version = agent.partition("@")
    declared.book()  # an agent may be registered by the module of its endpoint
    declared.load_agents()
    tiers = registry.find(name, int(version)).tiers
    return providers.names()[tiers[0] if tiers else Tier.STANDARD]


def _why_stop(batch: Batch) -> Stop | None:
    """Say why rows must stop: they have to wait, or their batch has ended; nothing if they need not. A database that is away stops none."""
    try:
        state = Batch.objects.values_list("state", flat=True).get(pk=batch.pk)
        must_wait = state not in BATCH_OPEN or batch_pauses.is_held(batch)
    except DatabaseError:
        return None
    if state in BATCH_ENDED:
        return Stop.ENDED
    return Stop.HELD if must_wait else None


def _others_wait(batch: Batch) -> bool:
    try:
        return waves.others_wait(batch, now=datetime.now(UTC))
    except DatabaseError:
        return False


def _leading(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what counts of several that came at once: that the shard is not ours any more, else the first."""
    stale, _ = group.split(StaleMove)
    found: BaseException = stale or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
