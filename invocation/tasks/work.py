"""The messages that wake the workers of the four classes."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import structlog
from celery import shared_task
from django.db import DatabaseError, connections

from invocation.gateways import dispatch
from invocation.gateways.loop import runs
from invocation.services import waves
from invocation.tasks import process
from invocation.tasks.handing import HandsOver

log = structlog.get_logger()

PASS_ON_S = 0.01


@shared_task(bind=True, name=dispatch.RUN_JOBS, send_events=False)
def run_jobs(self: Any, wakes: list[tuple[str, int]]) -> None:
    """Hand over what fits into this process's slots, pass on the rest, and return: the message is acknowledged already.

    The dispatcher admits no more than all processes together have room for, so that
    another one has it; the short wait lets that one come first.
    """
    rest = process.jobs().take([(UUID(job_id), attempt) for job_id, attempt in wakes], runs.loop)
    if rest:
        time.sleep(PASS_ON_S)
        dispatch.wake_jobs(self.request.delivery_info["routing_key"], rest)


@shared_task(name=dispatch.RUN_ALONE, send_events=False)
def run_alone(wakes: list[tuple[str, int]]) -> None:
    """Let each job run alone in a process of its own, and return."""
    for job_id, attempt in wakes:
        process.quarantine().take(UUID(job_id), attempt)


@shared_task(base=HandsOver, name=dispatch.RUN_TURNS, send_events=False)
def run_turns(turn_ids: list[str]) -> None:
    """Hand the turns over and return; a thread held for a turn would be a queue."""
    engine = process.turns()
    runs.loop.call_soon_threadsafe(engine.accept, [UUID(turn_id) for turn_id in turn_ids])


@shared_task(name=dispatch.RUN_SHARD, ignore_result=False)
def run_shard(batch_id: str, shard_id: str, wave: int) -> str:
    """Run a shard to its end, or to the checkpoint behind its time slice: the chord's header ends with it.

    Never raises, so that the body runs; what cannot be admitted now is admitted by the sweep.
    """
    outcome: str = runs.submit(process.shards().run(int(shard_id))).result()
    try:
        waves.after_shard()
    except DatabaseError:
        log.warning("next_shards_wait_for_the_sweep", batch_id=batch_id)
    finally:
        connections.close_all()
    return outcome


@shared_task(name=dispatch.PLAN_BATCH, send_events=False)
def plan_batch(batch_id: str) -> None:
    """Read a batch's manifest on this thread: minutes, for millions of rows. A process that ends leaves it to another."""
    process.planner().take(UUID(batch_id))


@shared_task(name=dispatch.AFTER_WAVE)
def after_wave(outcomes: list[str], batch_id: str, wave: int) -> None:
    """Gather on this thread, one batch at a time in a process: what comes meanwhile is left to the thread that gathers."""
    process.gatherer().take(UUID(batch_id))
