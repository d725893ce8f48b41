"""Quarantine: jobs that lost a worker run next alone, each in a process of its own, beside what this process runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import structlog
from django.db import DatabaseError, connections

from invocation.domain.jobs import JobState
from invocation.gateways.alone import Template
from invocation.models import Job
from invocation.services import processes

log = structlog.get_logger()

LOAD = "invocation.services.alone.load"
LIVE = "invocation.services.alone.live"
MOST_AT_ONCE = 16
"""Each is a process: memory bounds them, whatever number of slots an operator gives."""
KEEP = timedelta(seconds=2)
LONGEST_START = timedelta(minutes=1)
"""A process that has not claimed its job by then may never do so: the sweep may have the job."""


@dataclass(frozen=True, slots=True)
class Start:
    """A process that was started for a job, in this attempt; `at` is by the monotonic clock."""

    job_id: UUID
    attempt: int
    at: float


class Quarantine:
    """The processes that this one started for one job each, and the jobs that wait for a place. Used from any thread."""

    def __init__(self, priority_class: str, *, hostname: str, slots: int) -> None:
        self._class = priority_class
        self._hostname = hostname
        self._most = min(slots, MOST_AT_ONCE)
        self._lock = threading.RLock()
        self._line: dict[UUID, int] = {}
        self._at_work: dict[str, Start] = {}
        self._template: Template | None = None
        self._ending = threading.Event()
        self._emptied = threading.Condition(self._lock)
        self._keeper: threading.Thread | None = None

    def warm(self) -> None:
        """Have a template from now on: whoever inherits from a worker that died must not begin by importing."""
        if self._template is None or not self._template.is_held:
            with self._lock:
                self._held_template()

    def take(self, job_id: UUID, attempt: int) -> None:
        """Run a job alone, at once or when its turn comes. A process that ends leaves it to the sweep."""
        with self._lock:
            if self._ending.is_set() or (job_id, attempt) in {(start.job_id, start.attempt) for start in self._at_work.values()}:
                return
            self._line[job_id] = attempt
            self._fill()
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="quarantine", daemon=True)
                self._keeper.start()

    def let_go(self) -> None:
        """Begin to end: nothing more is started, and what runs is handed back unless it can finish in time."""
        with self._lock:
            self._ending.set()
            self._line.clear()
            if self._template is not None:
                self._template.let_go()

    def end(self, within: timedelta) -> None:
        """Return when every process has ended, or after `within`."""
        self.let_go()
        with self._lock:
            self._emptied.wait_for(lambda: not self._at_work, timeout=within.total_seconds())
            if self._template is not None:
                self._template.close()

    def _fill(self) -> None:
        while self._line and len(self._at_work) < self._most:
            job_id = next(iter(self._line))
            self._start(job_id, self._line.pop(job_id))

    def _start(self, job_id: UUID, attempt: int) -> None:
        process_id = str(uuid4())
        given: dict[str, str | int] = {
            "process_id": process_id,
            "priority_class": self._class,
            "hostname": self._hostname,
            "job_id": str(job_id),
            "attempt": attempt,
        }
        self._at_work[process_id] = Start(job_id, attempt, time.monotonic())
        try:
            self._held_template().fork(process_id, given)
        except OSError as gone:
            del self._at_work[process_id]
            log.warning("quarantine_cannot_start", job_id=str(job_id), error=str(gone))

    def _held_template(self) -> Template:
        if self._template is None or not self._template.is_held:
            self._template = Template(load=LOAD, live=LIVE, ended=self._ended)
        return self._template

    def _ended(self, process_id: str, code: int | None) -> None:
        with self._lock:
            self._at_work.pop(process_id, None)
            self._emptied.notify_all()
            if not self._ending.is_set():
                self._fill()
        if code:
            log.warning("quarantined_process_died", process=process_id, code=code)
            _give_up(UUID(process_id))

    def _keep(self) -> None:
        while not self._ending.wait(KEEP.total_seconds()):
            try:
                self._keep_the_line()
            except (psycopg.Error, DatabaseError) as away:
                log.warning("quarantine_waits_for_the_database", error=str(away))
            finally:
                connections.close_all()

    def _keep_the_line(self) -> None:
        """Of those at work only what is not yet claimed is touched: a template that is cold may take a while."""
        with self._lock:
            early = time.monotonic() - LONGEST_START.total_seconds()
            starting = {start.job_id: start.attempt for start in self._at_work.values() if start.at > early}
            waiting = dict(self._line)
        kept = keep_trusted(waiting | starting, now=datetime.now(UTC))
        with self._lock:
            for job_id in waiting.keys() - kept:
                self._line.pop(job_id, None)


def keep_trusted(waiting: Mapping[UUID, int], *, now: datetime) -> frozenset[UUID]:
    """Let the sweep know that the messages of these jobs (attempts by job) are not lost; return those that still wait for them."""
    if not waiting:
        return frozenset()
    found = Job.objects.filter(pk__in=waiting, state=JobState.DISPATCHED).values_list("pk", "attempt")
    kept = frozenset(job_id for job_id, attempt in found if waiting[job_id] == attempt)
    for job_id in sorted(kept):  # in one order with whoever moves these jobs; they are few
        Job.objects.filter(pk=job_id, state=JobState.DISPATCHED).update(dispatched_at=now)
    return kept


def _give_up(process_id: UUID) -> None:
    """The sweep need not wait for what we saw; if it cannot be told, it finds out by itself."""
    try:
        processes.end_lease(process_id, now=datetime.now(UTC))
    except (psycopg.Error, DatabaseError) as away:
        log.warning("death_not_told", process=str(process_id), error=str(away))
    finally:
        connections.close_all()
