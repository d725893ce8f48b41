"""A worker process's life: known by a row and a lock, kept by a heartbeat, ended by a drain."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, connections

from invocation.domain.modes import POLICIES
from invocation.gateways.loop import runs
from invocation.gateways.presence import Presence
from invocation.services import attempts, cancelling, processes, shards
from quota.domain.classes import PriorityClass

log = structlog.get_logger()


HOLD_SHARDS = frozenset({str(PriorityClass.P3)})
"""Nobody else asks the database of batches at each beat: while it is away a lease would end over it."""
TRY_AGAIN_S = 0.1
EX_SOFTWARE = 70


async def _nothing() -> None:
    """What a loop that runs can always do."""


class Engine(Protocol):
    """What runs the work of a class on the loop."""

    @property
    def in_flight(self) -> int: ...

    @property
    def running(self) -> frozenset[str]:
        """The ids of all that this process runs, from before its claim until after its end; read from any thread."""

    def stop(self, run_ids: Sequence[str]) -> None: ...

    async def drain(self, grace: timedelta) -> None: ...


def slots_of(priority_class: str) -> int:
    """Return the runs in flight that one process takes: the operator's word over the mode table's."""
    standard = {str(policy.priority_class): policy.slots for policy in POLICIES.values()}
    return int(settings.SLOTS.get(priority_class, standard[priority_class]))


class Worker:
    """Registers this process and keeps its lease; everything that it holds is held by that one lease."""

    def __init__(
        self, priority_class: str, *, build: Callable[[UUID], Engine], slots: int | None = None, process_id: UUID | None = None
    ) -> None:
        """`slots` are those of the class unless the process takes no messages; `process_id` is given where another process must know it."""
        self.id = process_id or uuid4()
        self.engine = build(self.id)
        self._class = priority_class
        self._slots = slots_of(priority_class) if slots is None else slots
        self._presence = Presence()
        self._known_by = self._presence.number
        self._lease = timedelta(seconds=settings.LEASE_S)
        self._beat = timedelta(seconds=settings.HEARTBEAT_S)
        self._leaving = threading.Event()
        self._row = threading.Lock()
        self._thread = threading.Thread(target=self._live, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Become known. Returns when the dispatcher may count on this process."""
        self._presence.hold()
        self._register(now=datetime.now(UTC))
        connections.close_all()
        self._thread.start()

    def _register(self, *, now: datetime) -> None:
        self._known_by = self._presence.number
        processes.register(
            self.id,
            priority_class=self._class,
            slots=self._slots,
            presence=self._presence.number,
            now=now,
            lease=self._lease,
        )

    def _return_what_broke_off(self) -> None:
        """What is read as held and then not found running has broken off; what ended in between is fenced by its attempt."""
        jobs, parts = attempts.held_by(self.id), shards.held_by(self.id) if self._class in HOLD_SHARDS else []
        running = self.engine.running
        lost = attempts.return_broken_off([fence for fence in jobs if fence.job_id not in running])
        lost += shards.return_broken_off([shard for shard in parts if str(shard.pk) not in running])
        if lost:
            log.warning("gave_back_what_broke_off", process=str(self.id), count=lost)

    def end(self, grace: timedelta) -> None:
        """Drain, then be gone. What could not finish is handed back."""
        processes.drain(self.id)
        runs.submit(self.engine.drain(grace)).result(timeout=grace.total_seconds() + 5)
        self._leaving.set()
        with self._row:
            processes.leave(self.id)
        self._presence.leave()

    def _live(self) -> None:
        """Listen first: the row is fresh. A database that restarts ends neither the process nor its runs: the next beat finds it back."""
        act = self._hear
        while not self._leaving.is_set():
            try:
                act()
            except (psycopg.Error, DatabaseError) as error:
                if self._leaving.is_set():
                    return
                log.warning("heartbeat_missed", process=str(self.id), error=str(error))
                self._leaving.wait(TRY_AGAIN_S)
            finally:
                connections.close_all()
            act = self._one_beat

    def _hear(self) -> None:
        """For as long as a beat, stop what somebody wants stopped."""
        self._stop(self._presence.heard(within=self._beat))

    def _one_beat(self) -> None:
        """The lease comes first: a presence that is long in coming must not end it."""
        self._must_run()
        with self._row:
            if self._leaving.is_set():
                return
            is_kept = processes.renew(self.id, now=datetime.now(UTC), lease=self._lease)
        self._presence.hold()
        with self._row:
            if self._leaving.is_set():
                return
            self._be_known(is_kept=is_kept, now=datetime.now(UTC))
        self._return_what_broke_off()
        self._stop(attempts.cancelling(self.id) + cancelling.stopping_turns(self.id))
        self._hear()

    def _be_known(self, *, is_kept: bool, now: datetime) -> None:
        """Only a process that holds its presence comes back: the others would be taken for dead at once."""
        if self._known_by != self._presence.number:
            processes.appear(self.id, presence=self._presence.number)
            self._known_by = self._presence.number
        if not is_kept and not processes.revive(self.id, now=now, lease=self._lease):
            self._register(now=now)

    def _must_run(self) -> None:
        """End the process when its loop stands still: an agent that blocks it would else keep every lease for ever.

        A process that was frozen finds its time up as it wakes, before its loop could move: the second look tells the two apart.
        """
        answer = runs.submit(_nothing())
        for grace in (self._lease, self._beat):
            try:
                answer.result(timeout=grace.total_seconds())
            except TimeoutError:
                continue
            return
        log.critical("loop_blocked", process=str(self.id), for_s=self._lease.total_seconds())
        os._exit(EX_SOFTWARE)

    def _stop(self, run_ids: Sequence[str]) -> None:
        if run_ids:
            runs.loop.call_soon_threadsafe(self.engine.stop, run_ids)
