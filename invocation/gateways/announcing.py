"""Celery's task events for work that one message carried together, so that Flower shows every job under its own id."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any
from uuid import UUID

import structlog
from celery import current_app
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = structlog.get_logger()
FLUSH_S = 0.5
GROUP = frozenset({"task"})
TOGETHER = 300
MOST_WAITING = 10_000
"""What is kept for a broker that does not answer; beyond it the oldest goes."""


class Announcer:
    """Emits received, started, succeeded and failed for each job; buffered, sent twice a second, never in the run's way.

    A broker that is away costs announcements and nothing else: no method raises for it, and the thread lives on.
    """

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MOST_WAITING)
        self._dropped = 0
        self._lock = threading.Lock()
        self._started: dict[UUID, float] = {}
        threading.Thread(target=self._flush_for_ever, name="announcer", daemon=True).start()

    def started(self, run_id: UUID, agent: str, endpoint: str) -> None:
        self._started[run_id] = time.time()
        shown = {"name": agent, "args": f"('{endpoint}',)", "kwargs": "{}", "retries": 0, "eta": None, "expires": None}
        self._add("task-received", run_id, **shown)
        self._add("task-started", run_id)

    def ended(self, run_id: UUID, outcome: str) -> None:
        runtime = time.time() - self._started.pop(run_id, time.time())
        if outcome == "failed":
            self._add("task-failed", run_id, exception="see the job's events", traceback="")
        else:
            self._add("task-succeeded", run_id, result=f"'{outcome}'", runtime=runtime)

    def _add(self, kind: str, run_id: UUID, **fields: Any) -> None:
        with self._lock:
            self._dropped += len(self._waiting) == MOST_WAITING
            self._waiting.append((kind, {"uuid": str(run_id), "timestamp": time.time(), **fields}))

    def _flush_for_ever(self) -> None:
        while True:
            time.sleep(FLUSH_S)
            self.flush()

    def flush(self) -> None:
        """Send what has waited, now: for a process that ends."""
        with self._lock:
            taken, dropped = list(self._waiting), self._dropped
            self._waiting.clear()
            self._dropped = 0
        if dropped:
            log.warning("announcements_dropped", count=dropped)
        if taken:
            self._send(taken)

    def _send(self, taken: list[tuple[str, dict[str, Any]]]) -> None:
        """Send many events as one message, as Celery's own workers may (its `task.multi`).

        Celery does not try again here, so what the broker's client raises arrives as it is.
        """
        connection = current_app.connection_for_write()
        try:
            with connection:
                sender = current_app.events.Dispatcher(
                    connection, hostname=self._hostname, enabled=True, buffer_while_offline=False, buffer_group=GROUP, buffer_limit=TOGETHER
                )
                for kind, fields in taken:
                    sender.send(kind, **fields)
                sender.flush(errors=False)
        except _losses(connection) as gone:
            log.warning("announcements_lost", count=len(taken), error=str(gone))


def _losses(connection: Connection) -> tuple[type[Exception], ...]:
    return (OperationalError, RedisError, OSError, *connection.connection_errors, *connection.channel_errors)
