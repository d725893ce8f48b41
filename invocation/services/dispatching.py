"""The dispatcher: one leader that admits what fits and mends what is broken, woken by a hint or by the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import structlog
from django.db import DatabaseError, connections

from invocation.domain.rounds import START, Pace, Place, messages
from invocation.gateways import dispatch, hints, statements
from invocation.gateways.presence import own_connection
from invocation.services import admission, children, jobs, overdue, processes, rescue, turns
from invocation.services.endings import DISPATCHED_CLASSES
from quota.domain.callers import PlanTerms
from quota.domain.classes import PriorityClass
from quota.selectors import terms_of

log = structlog.get_logger()

LEADER = 0x6765_6172
"""The advisory lock's number, "gear" in ASCII: whoever holds it leads."""
POLL_S = 0.2
SWEEP_S = 0.5
LOOK_S = 0.3
"""How often it is asked who died: two looks make a death, and what the dead held is rescued at once."""
TERMS_S = 2.0
MOST_TERMS = 100_000
UNREAD: tuple[float, PlanTerms | None] = (float("-inf"), None)
STANDBY_S = 0.5
MOST_FRESH = 500
"""Whoever is not remembered as just come is found by the ring."""
A_WHOLE_RING = 16
"""Rounds in a row that may find only tenants at their cap before the ring is left until the next tick."""


class Dispatcher:
    """Stands by until it leads, then leads until it is stopped or its database session ends."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._places: dict[str, Place] = {}
        self._terms: dict[UUID, tuple[float, PlanTerms | None]] = {}
        self._swept = self._looked = float("-inf")
        self._short: frozenset[str] = frozenset()
        self._passed_by: dict[str, tuple[UUID, ...]] = {}
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
        session.execute(f"LISTEN {hints.CHANNEL}")
        statements.prefer_indexes()
        pace, heard = Pace(), _nothing_heard()
        while not self._stopping.is_set():
            self._stopping.wait(pace.wait(now=time.monotonic()))
            heard = _merged([heard, _heard(session, timeout=0.0)])
            pace.went(self.round(heard), now=time.monotonic())
            heard = _heard(session, timeout=POLL_S)

    def round(self, heard: Mapping[str, set[UUID]] | None = None) -> int:
        """Mend what is due, then admit, in the classes that were heard of or in all, until slots or jobs run out; return how many.

        After a mend every class is looked at; whoever was heard of is new all the same.
        """
        heard = heard or {}
        is_swept = self._look_for_the_dead() or time.monotonic() - self._swept > SWEEP_S
        if is_swept:
            self._swept = time.monotonic()
            self._sweep()
        classes = [each for each in DISPATCHED_CLASSES if is_swept or not heard or self._concerns(each, heard)]
        return sum(self._admit(each, heard.get(each, set())) for each in classes)

    def _concerns(self, priority_class: PriorityClass, heard: Mapping[str, set[UUID]]) -> bool:
        """Say whether a class is worth a look: somebody has submitted, or a run has ended where somebody waits for that."""
        return bool(heard.get(priority_class)) or (priority_class in heard and priority_class in self._short)

    def _admit(self, priority_class: PriorityClass, fresh: set[UUID]) -> int:
        count, fruitless, more = 0, 0, True
        new = [*self._passed_by.pop(priority_class, ()), *sorted(fresh)][:MOST_FRESH]
        while more and fruitless < A_WHOLE_RING:
            now, place = datetime.now(UTC), self._places.get(priority_class, START)
            scene = admission.look(priority_class, place=place, now=now)
            terms = self._known_terms([*scene.waiting, *new])
            admitted = admission.admit(priority_class, scene, terms=terms, place=place, now=now, fresh=list(dict.fromkeys(new)))
            self._places[priority_class] = admitted.place
            self._send(admitted)
            count, more, new = count + len(admitted.picked), admitted.more, list(admitted.passed_by)
            fruitless = 0 if admitted.picked else fruitless + 1
            self._short = self._short | {priority_class} if admitted.is_short else self._short - {priority_class}
        self._passed_by[priority_class] = tuple(new)
        return count

    def _send(self, admitted: admission.Admitted) -> None:
        """After commit. A message that cannot be sent is not lost: the sweep recalls the jobs."""
        try:
            for claims in messages(admitted.claims, processes=admitted.processes):
                dispatch.wake_jobs(admitted.priority_class, claims)
            dispatch.wake_alone(admitted.priority_class, admitted.alone)
        except dispatch.BrokerGone as gone:
            log.warning("broker_gone", error=str(gone), jobs=len(admitted.picked))

    def _look_for_the_dead(self) -> bool:
        if time.monotonic() - self._looked < LOOK_S:
            return False
        self._looked = time.monotonic()
        dead = self._deaths.look(now=datetime.now(UTC))
        for process_id in dead:
            log.warning("worker_died", process=str(process_id))
        return bool(dead)

    def _sweep(self) -> None:
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

    def _known_terms(self, tenants: Sequence[UUID]) -> Mapping[UUID, PlanTerms]:
        """Return the terms of these tenants' plans, none older than two seconds; one that is not active has none."""
        now = time.monotonic()
        if len(self._terms) > MOST_TERMS:
            self._terms = {}
        stale = [tenant for tenant in tenants if now - self._terms.get(tenant, UNREAD)[0] > TERMS_S]
        if stale:
            read = terms_of(stale)
            self._terms.update({tenant: (now, read.get(tenant)) for tenant in stale})
        known = {tenant: self._terms[tenant][1] for tenant in tenants}
        return {tenant: terms for tenant, terms in known.items() if terms is not None}


def _nothing_heard() -> dict[str, set[UUID]]:
    return {}


def _heard(session: psycopg.Connection, *, timeout: float) -> dict[str, set[UUID]]:
    """Return, by class, who is said to have submitted: all that was said by now, or else the first word within `timeout` seconds."""
    words = list(session.notifies(timeout=timeout, stop_after=1))
    while more := list(session.notifies(timeout=0.0, stop_after=1)) if words else []:
        words += more
    return _merged([{hint.priority_class: set(hint.tenants)} for hint in map(hints.read, (word.payload for word in words))])


def _merged(all_heard: Iterable[Mapping[str, set[UUID]]]) -> dict[str, set[UUID]]:
    merged: dict[str, set[UUID]] = {}
    for heard in all_heard:
        for priority_class, tenants in heard.items():
            merged.setdefault(priority_class, set()).update(tenants)
    return merged


def rescue_jobs(now: datetime) -> int:
    return rescue.rescue_jobs(now=now)


def recall_lost_messages(now: datetime) -> int:
    return rescue.recall_lost_messages(now=now)


def wake_waiting(now: datetime) -> int:
    return jobs.wake_due(now=now)


def expire_queued(now: datetime) -> int:
    return jobs.expire_due(now=now)


def wake_forgotten_parents(now: datetime) -> int:
    return children.wake_forgotten(now=now)


def end_overdue_turns(now: datetime) -> int:
    return overdue.end_overdue_turns(now=now)


_MENDS: tuple[Callable[[datetime], int], ...] = (
    rescue_jobs,
    recall_lost_messages,
    wake_waiting,
    wake_forgotten_parents,
    expire_queued,
    end_overdue_turns,
)
