"""The messages that wake the workers of the four classes."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from invocation.gateways import dispatch
from invocation.gateways.loop import runs
from invocation.services import batches
from invocation.tasks import process


@shared_task(name=dispatch.RUN_JOBS, send_events=False)
def run_jobs(wakes: list[tuple[str, int]]) -> None:
    """Hand the jobs over and return: early acknowledgement, the dispatcher admitted only what fits."""
    engine = process.jobs()
    runs.loop.call_soon_threadsafe(engine.accept, [(UUID(job_id), attempt) for job_id, attempt in wakes])


@shared_task(name=dispatch.RUN_TURNS, send_events=False)
def run_turns(turn_ids: list[str]) -> None:
    """Hand the turns over and return; a thread held for a turn would be a queue."""
    engine = process.turns()
    runs.loop.call_soon_threadsafe(engine.accept, [UUID(turn_id) for turn_id in turn_ids])


@shared_task(name=dispatch.RUN_SHARD, ignore_result=False)
def run_shard(batch_id: str, shard_id: str, wave: int) -> str:
    """Run a shard to its end: the chord's header ends with it. Never raises, so that the body runs."""
    outcome: str = runs.submit(process.shards().run(int(shard_id))).result()
    return outcome


@shared_task(name=dispatch.AFTER_WAVE)
def after_wave(batch_id: str, wave: int) -> None:
    batches.after_wave(UUID(batch_id), wave)
