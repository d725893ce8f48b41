"""What beat ticks on the control queue. Each tick is an idempotent service: two beats are harmless.

Ticks send no events: in Flower they would bury the jobs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from celery import shared_task

from invocation.gateways import dispatch
from invocation.services import batches, rescue, schedules

TICK_SCHEDULES = "invocation.tick_schedules"
SWEEP_BATCHES = "invocation.sweep_batches"
FORGET_THE_DEAD = "invocation.forget_the_dead"


@shared_task(name=TICK_SCHEDULES, send_events=False)
def tick_schedules() -> None:
    schedules.tick(now=datetime.now(UTC))


@shared_task(name=SWEEP_BATCHES, send_events=False)
def sweep_batches() -> None:
    batches.sweep(now=datetime.now(UTC))


@shared_task(name=FORGET_THE_DEAD, send_events=False)
def forget_the_dead() -> None:
    rescue.forget_the_dead(now=datetime.now(UTC))


@shared_task(name=dispatch.START_WAVE)
def start_wave(batch_id: str) -> None:
    batches.next_wave(UUID(batch_id), now=datetime.now(UTC))
