"""The tasks of evals, registered under the names by which dispatch wakes them."""

from __future__ import annotations

import threading
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from evals.gateways import dispatch
from evals.services import batch_scoring, forgetting, scoring

_one = threading.Lock()


@shared_task(name=dispatch.CONSUME, send_events=False)
def consume() -> None:
    """A tick: score what finished, forget what is to be forgotten, and see to it that completed batches are scored."""
    now = timezone.now()
    scoring.consume_all(now=now)
    forgetting.consume()
    batch_scoring.accept(now=now)
    batch_scoring.wake(now=now)


@shared_task(name=dispatch.SCORE_BATCH)
def score_batch(batch_id: str) -> None:
    """Score on this thread, one batch at a time in a process, whose other threads are for shards: a second one is put off."""
    if not _one.acquire(blocking=False):
        batch_scoring.put_off(UUID(batch_id), now=timezone.now())
        return
    try:
        batch_scoring.score_batch(UUID(batch_id), now=timezone.now())
    finally:
        _one.release()
