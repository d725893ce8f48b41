"""The dispatcher: one leader that admits what fits, woken by a hint or by the clock, and has what is broken mended beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, connections

from invocation.domain.rounds import START, Pace, Place, messages
from invocation.gateways import dispatch, hints, statements
from invocation.gateways.presence import own_connection
from invocation.services import admission
from invocation.services.endings import DISPATCHED_CLASSES
from invocation.services.mending import Mender
from invocation.services.plan_terms import KnownTerms
from invocation.services.searching import Spots
from quota.domain.classes import PriorityClass

log = structlog.get_logger()

LEADER = 0x6765_6172
"""The advisory lock's number, "gear" in ASCII: whoever holds it leads."""
POLL_S = 0.2
EVERYWHERE_S = 0.5
STANDBY_S = 0.5
BEAT_S = 1.0
"""A leader says something on its session each second; silent for a whole lease, it is frozen."""
DEPOSE = """
SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid = 0 AND objid = %(leader)s AND objsubid = 1 AND state_change < clock_timestamp() - make_interval(secs => %(silent)s)
"""
Heard = Mapping[str, set[UUID]]
"""By class, who is said to have submitted."""
NOBODY: frozenset[UUID] = frozenset()
MOST_FRESH = 500
"""Whoever is not remembered as just come is found by the ring."""
A_WHOLE_RING = 16
"""Rounds in a row that may find only tenants at their cap before the ring is left until the next tick."""


class Dispatcher:
    """Stands by until it leads, then leads until it is stopped or its database session ends.

    Whoever stands by ends the session of a leader that has fallen silent: frozen, it would hold the lock for ever and
    admit nobody. When it thaws, its session is gone and it stands by like any other.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._places: dict[str, Place] = {}
        self._spots: dict[str, Spots] = {}
        self._terms = KnownTerms()
        self._looked = float("-inf")
        self._short: frozenset[str] = frozenset()
        self._seen: dict[str, frozenset[UUID]] = {}
        self._passed_by: dict[str, tuple[UUID, ...]] = {}

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Return after stop(). A database or broker that goes away is waited for."""
        while not self._stopping.is_set():
            try:
                with own_connection() as session:
                    self._stand_by(session)
                    with Mender(mended=self._look_everywhere), statements.admitting():
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
            if session.execute(DEPOSE, {"leader": LEADER, "silent": settings.LEASE_S}).fetchall():
                log.warning("silent_leader_deposed", silent_s=settings.LEASE_S)
            self._stopping.wait(STANDBY_S)

    def _lead(self, session: psycopg.Connection) -> None:
        session.execute(f"LISTEN {hints.CHANNEL}")
        pace, beaten = Pace(), float("-inf")
        heard: Heard = {}
        while not self._stopping.is_set():
            if time.monotonic() - beaten > BEAT_S:
                beaten = time.monotonic()
                session.execute("SELECT 1")
            heard = self._rested(session, pace, heard)
            began = time.monotonic()
            admitted = self.round(heard)
            pace.went(admitted, took=time.monotonic() - began, now=time.monotonic())
            self._terms.read_ahead()
            heard = _heard(session, timeout=POLL_S)

    def _rested(self, session: psycopg.Connection, pace: Pace, heard: Heard) -> Heard:
        """Hear on until the next round may begin, and return all that was heard."""
        while not self._stopping.is_set():
            left = pace.wait(now=time.monotonic(), has_newcomer=self._has_newcomer(heard))
            heard = _merged([heard, _heard(session, timeout=left)])
            if not left:
                break
        return heard

    def _has_newcomer(self, heard: Heard) -> bool:
        """Say whether somebody submitted who had neither a job under way nor one that waited when the class was last looked at."""
        return any(tenants - self._seen.get(priority_class, NOBODY) for priority_class, tenants in heard.items())

    def round(self, heard: Heard | None = None) -> int:
        """Admit, in the classes that were heard of or in all, until slots or jobs run out; return how many.

        Twice a second, and after a mend, every class is looked at; whoever was heard of is new all the same.
        """
        heard = heard or {}
        is_due = time.monotonic() - self._looked > EVERYWHERE_S
        if is_due:
            self._looked = time.monotonic()
        classes = [each for each in DISPATCHED_CLASSES if is_due or not heard or self._concerns(each, heard)]
        return sum(self._admit(each, heard.get(each, set())) for each in classes)

    def _look_everywhere(self) -> None:
        """Something was mended: let the next round, which begins now, look at every class. Called by the mender's thread."""
        self._looked = float("-inf")
        for priority_class in DISPATCHED_CLASSES:
            hints.wake(str(priority_class))

    def _concerns(self, priority_class: PriorityClass, heard: Heard) -> bool:
        """Say whether a class is worth a look: somebody has submitted, or a run has ended where somebody waits for that."""
        return bool(heard.get(priority_class)) or (priority_class in heard and priority_class in self._short)

    def _admit(self, priority_class: PriorityClass, fresh: set[UUID]) -> int:
        count, fruitless, more = 0, 0, True
        new = [*self._passed_by.pop(priority_class, ()), *sorted(fresh)][:MOST_FRESH]
        while more and fruitless < A_WHOLE_RING:
            now, place = datetime.now(UTC), self._places.get(priority_class, START)
            scene = admission.look(priority_class, place=place, now=now)
            self._seen[priority_class] = frozenset([*scene.in_flight, *scene.waiting])
            terms = self._terms.of([*scene.waiting, *new]) if scene.free else {}
            spots = self._spots.get(priority_class, admission.NOWHERE)
            newcomers = list(dict.fromkeys(new))
            admitted = admission.admit(priority_class, scene, terms=terms, place=place, now=now, fresh=newcomers, spots=spots)
            self._places[priority_class], self._spots[priority_class] = admitted.place, admitted.spots
            self._send(admitted)
            count, more, new = count + len(admitted.picked), admitted.more, list(admitted.passed_by)
            fruitless = 0 if admitted.picked else fruitless + 1
            self._short = self._short | {priority_class} if admitted.is_short else self._short - {priority_class}
        self._passed_by[priority_class] = tuple(new)
        return count

    def _send(self, admitted: admission.Admitted) -> None:
        """After commit. A message that cannot be sent is not lost: the sweep recalls the jobs."""
        try:
            for claims in [*messages(admitted.first, processes=1), *messages(admitted.claims, processes=admitted.processes)]:
                dispatch.wake_jobs(admitted.priority_class, claims)
            for claims in messages(admitted.alone, processes=admitted.processes):
                dispatch.wake_alone(admitted.priority_class, claims)
        except dispatch.BrokerGone as gone:
            log.warning("broker_gone", error=str(gone), jobs=len(admitted.picked))


def _heard(session: psycopg.Connection, *, timeout: float) -> dict[str, set[UUID]]:
    """Return, by class, who is said to have submitted: all that was said by now, or else the first word within `timeout` seconds."""
    words = list(session.notifies(timeout=timeout, stop_after=1))
    while more := list(session.notifies(timeout=0.0, stop_after=1)) if words else []:
        words += more
    return _merged([{hint.priority_class: set(hint.tenants)} for hint in map(hints.read, (word.payload for word in words))])


def _merged(all_heard: Iterable[Heard]) -> dict[str, set[UUID]]:
    merged: dict[str, set[UUID]] = {}
    for heard in all_heard:
        for priority_class, tenants in heard.items():
            merged.setdefault(priority_class, set()).update(tenants)
    return merged
