"""The life of a quarantined process: a worker of one job, which it holds, runs and ends; then it ends, too."""

from __future__ import annotations

import os
import select
import signal
from datetime import timedelta
from importlib import import_module
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from agents.services import providers
from invocation.gateways import declared
from invocation.gateways.announcing import Announcer
from invocation.gateways.loop import runs
from invocation.services.engine import JobEngine
from invocation.services.worker import Worker

AS_LONG_AS_IT_TAKES = timedelta(days=1)
"""A run ends by itself, or at its mode's ceiling."""


def load() -> None:
    """Import whatever a job needs; called in the template, so nothing is opened and no thread is started."""
    declared.load_agents()
    declared.book()
    providers.chosen()
    providers.warm()
    for module in ("psycopg_pool", "uvloop"):  # at first need elsewhere
        import_module(module)
    app = import_string(settings.CELERY_APP)
    for _ in (app.amqp.router, app.events.Dispatcher, app.connection_for_write().get_transport_cls()):  # each imports what it is made of
        continue


def live(*, leash: int, process_id: str, priority_class: str, hostname: str, job_id: str, attempt: int) -> None:
    """Claim one job and run it to an end of any kind. Where the worker that forked us goes, the job is handed back in time.

    It takes no messages: it is known with no slots, but keeps a lease and holds a presence like every worker.
    """
    announcer = Announcer(hostname)
    engine = JobEngine(owner=UUID(process_id), announcer=announcer, priority_class=priority_class)
    worker = Worker(priority_class, build=lambda _: engine, slots=0, process_id=UUID(process_id))
    worker.start()
    _run_or_be_let_go(engine, (UUID(job_id), attempt), leash)
    worker.end(timedelta(seconds=settings.DRAIN_S))
    announcer.flush()
    connections.close_all()


def _run_or_be_let_go(engine: JobEngine, wake: tuple[UUID, int], leash: int) -> None:
    """Return when the job has ended, when the leash has, or at SIGTERM."""
    over, tell = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(tell, b"."))
    run = runs.submit(_run(engine, wake))
    run.add_done_callback(lambda _: os.write(tell, b"."))
    select.select([over, leash], [], [])


async def _run(engine: JobEngine, wake: tuple[UUID, int]) -> None:
    """A process of one job drains from the beginning."""
    engine.accept([wake])
    await engine.drain(AS_LONG_AS_IT_TAKES)
