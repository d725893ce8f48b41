"""The worker process that Celery started: which class it serves, its engine, its start and its end."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import psycopg
import structlog
from celery.signals import worker_init, worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, connections

from agents.services import providers
from invocation.gateways.announcing import Announcer
from invocation.gateways.interpreter import suit_many_runs
from invocation.gateways.loop import runs
from invocation.services import waves
from invocation.services.in_turn import InTurn
from invocation.services.planning import Planner
from invocation.services.quarantine import Quarantine
from invocation.services.worker import HOLD_SHARDS, Engine, Worker, slots_of

log = structlog.get_logger()
_worker: Worker | None = None
_quarantine: Quarantine | None = None
_planner = Planner()
_gatherer = InTurn(waves.after_wave)
EX_UNAVAILABLE = 69
LAST_WORDS = timedelta(seconds=1)
"""For what drained beside this process to store that it did."""
THREADS_BESIDE_SHARDS = 3
"""A manifest is read, a batch is gathered and one is scored while every slot has its shard: one of each at a time."""


class NotAWorker(RuntimeError):
    """A task of a priority class reached a process that does not serve one."""


def jobs() -> Any:
    return _engine()


def turns() -> Any:
    return _engine()


def shards() -> Any:
    return _engine()


def quarantine() -> Quarantine:
    """Return what runs jobs alone beside this process's engine."""
    if _quarantine is None:
        raise NotAWorker("Start this worker with -Q p1 or p2: it serves no jobs.")
    return _quarantine


def planner() -> Planner:
    """Return what reads manifests beside this process's engine."""
    return _planner


def gatherer() -> InTurn:
    """Return what ends waves beside this process's engine."""
    return _gatherer


def _engine() -> Engine:
    if _worker is None:
        raise NotAWorker("Start this worker with -Q p0, p1, p2 or p3: it serves no priority class.")
    return _worker.engine


@worker_init.connect
def make_room(sender: Any = None, **_: Any) -> None:
    """Give a worker of shards, which hold a thread each, as many as it has slots and some beside, however few it was told to have."""
    queue = _queue_of(sender)
    if queue in HOLD_SHARDS:
        sender.concurrency = max(sender.concurrency, slots_of(queue) + THREADS_BESIDE_SHARDS)


@worker_ready.connect
def begin(sender: Any = None, **_: Any) -> None:
    """Register when Celery listens: a slot that is counted is a slot that answers."""
    global _worker, _quarantine  # noqa: PLW0603  (one worker a process, made by Celery's signal)
    queue = _queue_of(sender)
    build = _BUILDERS.get(queue)
    if build is None:
        return
    providers.warm()
    announcer = Announcer(sender.hostname)
    worker = Worker(queue, build=lambda owner: _on_loop(lambda: build(owner, announcer, queue)))
    _quarantine = Quarantine(queue, hostname=sender.hostname, slots=slots_of(queue))
    _start(worker)
    _worker = worker
    if build is _job_engine:  # whoever inherits from a worker that died must not begin by importing
        _quarantine.warm()
    suit_many_runs()
    log.info("worker_ready", priority_class=queue, process=str(worker.id))


def _queue_of(sender: Any) -> str:
    return str(next(iter(sender.app.amqp.queues.consume_from)))


def _start(worker: Worker) -> None:
    """Register, or end the process: a worker that nobody knows would take messages and run none."""
    try:
        worker.start()
    except (psycopg.Error, DatabaseError) as error:
        log.critical("worker_cannot_register", error=str(error))
        os._exit(EX_UNAVAILABLE)


@worker_shutting_down.connect
def end(**_: Any) -> None:
    """Drain within the grace; Celery's own shutdown waits for this."""
    if _worker is None or _quarantine is None:
        return
    _planner.end()
    _gatherer.end()
    _quarantine.let_go()
    _worker.end(timedelta(seconds=settings.DRAIN_S))
    _quarantine.end(timedelta(seconds=settings.DRAIN_S) + LAST_WORDS)
    connections.close_all()


def _on_loop(build: Any) -> Engine:
    """Engines are made on the loop: what they hold belongs to it."""

    async def made() -> Engine:
        return cast("Engine", build())

    return runs.submit(made()).result()


def _job_engine(owner: UUID, announcer: Announcer, queue: str) -> Engine:
    from invocation.services.engine import JobEngine  # noqa: PLC0415  (each class loads its own engine)

    return JobEngine(owner=owner, announcer=announcer, priority_class=queue, slots=slots_of(queue))


def _turn_engine(owner: UUID, announcer: Announcer, queue: str) -> Engine:
    from invocation.services.turn_engine import TurnEngine  # noqa: PLC0415

    return TurnEngine(owner=owner, announcer=announcer)


def _shard_engine(owner: UUID, announcer: Announcer, queue: str) -> Engine:
    from invocation.services.shard_engine import ShardEngine  # noqa: PLC0415

    return ShardEngine(owner=owner)


_BUILDERS = {"p0": _turn_engine, "p1": _job_engine, "p2": _job_engine, "p3": _shard_engine}
