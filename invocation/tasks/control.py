"""What beat ticks on the control queue. Each tick is an idempotent service: two beats are harmless.

Ticks send no events: in Flower they would bury the jobs.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings

from invocation.gateways import dispatch
from invocation.gateways.loop import runs
from invocation.services import (
    cleaning,
    deliveries,
    erasures,
    planning,
    redrives,
    registering,
    rescue,
    retention,
    schedules,
    slo,
    staged,
    waves,
    webhooks,
)
from quota.services import days, usage

TICK_SCHEDULES = "invocation.tick_schedules"
KEEP_SLO = "invocation.keep_slo"
SWEEP_BATCHES = "invocation.sweep_batches"
FORGET_THE_DEAD = "invocation.forget_the_dead"
SWEEP_REDRIVES = "invocation.sweep_redrives"
SWEEP_ERASURES = "invocation.sweep_erasures"
LET_GO = "invocation.let_go"
REGISTER_DATASETS = "invocation.register_datasets"
CLEAN_STORES = "invocation.clean_stores"
SEND_DELIVERIES = "invocation.send_deliveries"
TIDY_DELIVERIES = "invocation.tidy_deliveries"
SUM_USAGE = "invocation.sum_usage"
RAISE_DAYS = "invocation.raise_days"


@shared_task(name=TICK_SCHEDULES, send_events=False)
def tick_schedules() -> None:
    schedules.tick(now=datetime.now(UTC))


@shared_task(name=SWEEP_BATCHES, send_events=False)
def sweep_batches() -> None:
    planning.sweep(now=datetime.now(UTC))
    waves.sweep(now=datetime.now(UTC))


@shared_task(name=SUM_USAGE, send_events=False)
def sum_usage() -> None:
    usage.sweep(now=datetime.now(UTC))


@shared_task(name=RAISE_DAYS, send_events=False)
def raise_days() -> None:
    days.raise_to_ledger(now=datetime.now(UTC))


@shared_task(name=SWEEP_ERASURES, send_events=False)
def sweep_erasures() -> None:
    erasures.sweep(now=datetime.now(UTC))


@shared_task(name=REGISTER_DATASETS, send_events=False)
def register_datasets() -> None:
    registering.sweep(now=datetime.now(UTC))


@shared_task(name=CLEAN_STORES, send_events=False)
def clean_stores() -> None:
    cleaning.sweep(now=datetime.now(UTC))
    staged.sweep(now=datetime.now(UTC))


@shared_task(name=LET_GO, send_events=False)
def let_go() -> None:
    retention.sweep(now=datetime.now(UTC))


@shared_task(name=SWEEP_REDRIVES, send_events=False)
def sweep_redrives() -> None:
    redrives.sweep(now=datetime.now(UTC))


@shared_task(name=KEEP_SLO, send_events=False)
def keep_slo() -> None:
    slo.keep(now=datetime.now(UTC))


@shared_task(name=FORGET_THE_DEAD, send_events=False)
def forget_the_dead() -> None:
    rescue.forget_the_dead(now=datetime.now(UTC))


@shared_task(name=SEND_DELIVERIES, send_events=False)
def send_deliveries() -> None:
    """Wake this process's sender and return: however long a receiver takes, no thread waits for it."""
    from invocation.services import sending  # noqa: PLC0415  (loads an HTTP client, which only this process needs)

    worker_shutting_down.connect(_drain_sender, weak=False, dispatch_uid=SEND_DELIVERIES)
    runs.loop.call_soon_threadsafe(sending.wake)


def _drain_sender(**_: Any) -> None:
    """Settle the calls under way within the grace; what is cut off is due again when its lease ends."""
    from invocation.services import sending  # noqa: PLC0415

    with suppress(TimeoutError):
        runs.submit(sending.sender().drain()).result(timeout=settings.DRAIN_S)


@shared_task(name=TIDY_DELIVERIES, send_events=False)
def tidy_deliveries() -> None:
    now = datetime.now(UTC)
    deliveries.close_unwanted(now=now)
    deliveries.forget_old(now=now)
    deliveries.forget_deleted()
    webhooks.forget_old_secrets(now=now)


@shared_task(name=dispatch.START_WAVE)
def start_wave(batch_id: str) -> None:
    waves.go_on(UUID(batch_id), now=datetime.now(UTC))
