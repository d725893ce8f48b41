"""Hints: a word to the dispatcher that there is something to admit, from a session of its own and never in anybody's transaction.

A NOTIFY inside each submission would make their commits wait for one another: PostgreSQL
serialises committing notifiers. A hint may be lost; the dispatcher looks by itself, too.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from uuid import UUID

import psycopg
import structlog

from invocation.gateways.presence import own_connection
from quota.domain.classes import PriorityClass

log = structlog.get_logger()

CHANNEL = "gearbox_jobs"
SPACING_S = 0.01
"""The first hint goes at once; those that come within this time after it go together: each is a commit of its own."""
AWAY_S = 1.0
MOST_TENANTS = 100
"""What fits a notification; whoever is not named is found by the ring."""


class Hinter:
    """One thread and one session a process, made at the first hint."""

    def __init__(self) -> None:
        self._wanted: dict[str, set[UUID]] = {}
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self, priority_class: str, tenant_id: UUID | None = None) -> None:
        """Let the dispatcher know soon that this class, and whose job of it, is worth a look. Never raises and never waits."""
        with self._lock:
            tenants = self._wanted.setdefault(priority_class, set())
            if tenant_id is not None and len(tenants) < MOST_TENANTS:
                tenants.add(tenant_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="hints", daemon=True)
                self._thread.start()
        self._awake.set()

    def _live(self) -> None:
        while True:
            try:
                with own_connection() as session:
                    self._tell(session)
            except psycopg.Error as gone:
                log.warning("hints_wait_for_the_database", error=str(gone))
                self._want_every_class()
                time.sleep(AWAY_S)

    def _want_every_class(self) -> None:
        """What the lost session had taken and not said is not known any more, so the next one says every class."""
        with self._lock:
            for priority_class in PriorityClass:
                self._wanted.setdefault(priority_class, set())
        self._awake.set()

    def _tell(self, session: psycopg.Connection) -> None:
        session.execute("SET synchronous_commit = off")  # each NOTIFY is a commit, and need not wait for the disk: it may be lost
        while self._awake.wait():
            self._awake.clear()
            with self._lock:
                wanted, self._wanted = self._wanted, {}
            for priority_class, tenants in wanted.items():
                session.execute("SELECT pg_notify(%s, %s)", [CHANNEL, " ".join([priority_class, *map(str, tenants)])])
            time.sleep(SPACING_S)


@dataclass(frozen=True, slots=True)
class Hint:
    """What a notification says: a class, and tenants who have just submitted."""

    priority_class: str
    tenants: tuple[UUID, ...]


def read(payload: str) -> Hint:
    """Return what a notification of CHANNEL says."""
    priority_class, *tenants = payload.split()
    return Hint(priority_class, tuple(UUID(tenant) for tenant in tenants))


_hinter = Hinter()
wake = _hinter.wake
