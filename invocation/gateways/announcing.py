"""Celery's task events for work that one message carried together, so that Flower shows every job under its own id."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import structlog
from celery import current_app
from celery.events.event import get_exchange
from celery.utils.time import utcoffset
from kombu import Connection, Producer
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = structlog.get_logger()
FLUSH_S = 0.5
TOGETHER = 300
MOST_WAITING = 10_000
"""What is kept for a broker that does not answer; beyond it the oldest goes."""
ROUTE = "task.multi"
"""Celery's own workers may send many task events as one message: a list under this key."""

Event = dict[str, Any]


class _Started(NamedTuple):
    """A run that began; told as received and started."""

    run_id: UUID
    agent: str
    endpoint: str
    at: float

    def events(self) -> Sequence[Event]:
        same = {"uuid": self.run_id, "timestamp": self.at}
        shown = {"name": self.agent, "args": f"('{self.endpoint}',)", "kwargs": "{}", "retries": 0, "eta": None, "expires": None}
        return {"type": "task-received", **same, **shown}, {"type": "task-started", **same}


class _Ended(NamedTuple):
    """A run that ended with this word."""

    run_id: UUID
    outcome: str
    at: float
    runtime: float

    def events(self) -> Sequence[Event]:
        told: Event = {"uuid": self.run_id, "timestamp": self.at}
        if self.outcome == "failed":
            return ({"type": "task-failed", **told, "exception": "see the job's events", "traceback": ""},)
        return ({"type": "task-succeeded", **told, "result": f"'{self.outcome}'", "runtime": self.runtime},)


class Announcer:
    """Emits received, started, succeeded and failed for each job; buffered, sent twice a second, never in the run's way.

    A broker that is away costs announcements and nothing else: no method raises for it, and the thread lives on.
    """

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._waiting: deque[_Started | _Ended] = deque(maxlen=MOST_WAITING)
        self._dropped = 0
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._connection: Connection | None = None
        self._began: dict[UUID, float] = {}
        threading.Thread(target=self._flush_for_ever, name="announcer", daemon=True).start()

    def started(self, run_id: UUID, agent: str, endpoint: str) -> None:
        now = self._began[run_id] = time.time()
        self._add(_Started(run_id, agent, endpoint, now))

    def ended(self, run_id: UUID, outcome: str) -> None:
        now = time.time()
        self._add(_Ended(run_id, outcome, now, now - self._began.pop(run_id, now)))

    def _add(self, told: _Started | _Ended) -> None:
        with self._lock:
            self._dropped += len(self._waiting) == MOST_WAITING
            self._waiting.append(told)

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

    def _send(self, taken: Sequence[_Started | _Ended]) -> None:
        """Send many events as one message, written by a faster JSON than the dispatcher of Celery's events has.

        Celery does not try again here, so what the broker's client raises arrives as it is.
        """
        with self._sending:
            connection = self._connection = self._connection or current_app.connection_for_write()
            try:
                self._publish(connection, [event for told in taken for event in told.events()])
            except _losses(connection) as gone:
                log.warning("announcements_lost", count=len(taken), error=str(gone))
                self._connection = None
                connection.release()

    def _publish(self, connection: Connection, events: Sequence[Event]) -> None:
        exchange = get_exchange(connection, name=current_app.conf.event_exchange)
        send: Callable[..., Any] = Producer(connection.default_channel, exchange, auto_declare=True).publish
        self._make_whole(events)
        for start in range(0, len(events), TOGETHER):
            body = orjson.dumps(events[start : start + TOGETHER])
            send(
                body,
                routing_key=ROUTE,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=1,
                headers={"hostname": self._hostname},
            )

    def _make_whole(self, events: Sequence[Event]) -> None:
        """Give each event what the worker's own have: whose it is, and its place by the logical clock."""
        clock = current_app.clock  # type: ignore[attr-defined]  # the stubs lack it
        same = {"hostname": self._hostname, "utcoffset": utcoffset(), "pid": os.getpid()}
        at = clock.forward()
        for place, event in enumerate(events, at):
            event.update(same, clock=place)
        clock.adjust(at + len(events))


def _losses(connection: Connection) -> tuple[type[Exception], ...]:
    return (OperationalError, RedisError, OSError, *connection.connection_errors, *connection.channel_errors)
