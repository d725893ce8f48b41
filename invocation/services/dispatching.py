"""The dispatcher: one leader that admits what fits and mends what is broken, woken by a word or by the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import structlog
from django.db import DatabaseError, connections

from invocation.domain.rounds import START, Place
from invocation.gateways import dispatch
from invocation.gateways.presence import own_connection
from invocation.selectors.admission import live_slots
from invocation.services import admission, jobs, overdue, processes, rescue, turns
from invocation.services.submission import CHANNEL
from quota.domain.callers import PlanTerms
from quota.domain.classes import PriorityClass
from quota.selectors import terms_of_tenants

log = structlog.get_logger()

LEADER = 0x6765_6172
"""The advisory lock's number, "gear" in ASCII: whoever holds it leads."""
POLL_S = 0.25
SWEEP_S = 0.5
TERMS_S = 2.0
STANDBY_S = 0.5


class Dispatcher:
    """Stands by until it leads, then leads until it is stopped or its database session ends."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._places: dict[str, Place] = {}
        self._terms: Mapping[UUID, PlanTerms] = {}
        self._terms_read = float("-inf")
        self._swept = float("-inf")
        self._deaths = processes.DeathWatch()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Return after stop(). A database or broker that goes away is waited for."""
        while not self._stopping.is_set():
            try:
                with own_connection() as session:
                    self._stand_by(session)
                    self._lead(session)
            except (psycopg.Error, DatabaseError) as gone:
                log.warning("dispatcher_waits_for_the_database", error=str(gone))
                self._stopping.wait(STANDBY_S)
            finally:
                connections.close_all()

    def _stand_by(self, session: psycopg.Connection) -> None:
        while not self._stopping.is_set():
            row = session.execute("SELECT pg_try_advisory_lock(%s)", [LEADER]).fetchone()
            if row and row[0]:
                log.info("dispatcher_leads")
                return
            self._stopping.wait(STANDBY_S)

    def _lead(self, session: psycopg.Connection) -> None:
        session.execute(f"LISTEN {CHANNEL}")
        while not self._stopping.is_set():
            self.round()
            connections.close_all()
            for _ in session.notifies(timeout=POLL_S, stop_after=1):
                break

    def round(self) -> None:
        """Mend what is due, then admit until slots or jobs run out."""
        if time.monotonic() - self._swept > SWEEP_S:
            self._swept = time.monotonic()
            self._sweep()
        slots = live_slots(now=datetime.now(UTC))
        for priority_class in admission.DISPATCHED_CLASSES:
            self._admit(priority_class, slots[priority_class])

    def _admit(self, priority_class: PriorityClass, slots: int) -> None:
        while free := admission.free_slots(priority_class, slots=slots):
            admitted = admission.admit(
                priority_class,
                terms=self._known_terms(),
                place=self._places.get(priority_class, START),
                free=free,
                now=datetime.now(UTC),
            )
            self._places[priority_class] = admitted.place
            if not admitted.claims:
                return
            self._send(admitted)

    def _send(self, admitted: admission.Admitted) -> None:
        """After commit. A message that cannot be sent is not lost: the sweep recalls the jobs."""
        try:
            dispatch.wake_jobs(admitted.priority_class, admitted.claims)
        except dispatch.BrokerGone as gone:
            log.warning("broker_gone", error=str(gone), jobs=len(admitted.claims))

    def _sweep(self) -> None:
        for process_id in self._deaths.look(now=datetime.now(UTC)):
            log.warning("worker_died", process=str(process_id))
        for mend in _MENDS:
            done = mend(datetime.now(UTC))
            if done:
                log.info("mended", what=mend.__name__, count=done)
        self._resend(turns.requeue_orphans(now=datetime.now(UTC)))

    def _resend(self, turn_ids: list[UUID]) -> None:
        if turn_ids:
            try:
                dispatch.wake_turns(turn_ids, within_s=6.0)
            except dispatch.BrokerGone as gone:
                log.warning("broker_gone", error=str(gone), turns=len(turn_ids))

    def _known_terms(self) -> Mapping[UUID, PlanTerms]:
        if time.monotonic() - self._terms_read > TERMS_S:
            self._terms, self._terms_read = terms_of_tenants(), time.monotonic()
        return self._terms


def rescue_jobs(now: datetime) -> int:
    return rescue.rescue_jobs(now=now)


def recall_lost_messages(now: datetime) -> int:
    return rescue.recall_lost_messages(now=now)


def wake_waiting(now: datetime) -> int:
    return jobs.wake_due(now=now)


def expire_queued(now: datetime) -> int:
    return jobs.expire_due(now=now)


def end_overdue_turns(now: datetime) -> int:
    return overdue.end_overdue_turns(now=now)


_MENDS: tuple[Callable[[datetime], int], ...] = (
    rescue_jobs,
    recall_lost_messages,
    wake_waiting,
    expire_queued,
    end_overdue_turns,
)
